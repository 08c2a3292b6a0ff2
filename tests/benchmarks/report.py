"""What a case found, its targets, and the table at the end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tests.benchmarks.measure import median


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for the median of Elsa's values, or of the ratios of each repetition's pair."""

    of: Literal["ratio", "value"]
    kind: Literal["at least", "at most"]
    bound: float

    def holds(self, found: float) -> bool:
        """Whether this value is within the bound."""
        return found >= self.bound if self.kind == "at least" else found <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.kind == "at least" else "≤"
        return f"{sign} {self.bound:g}{'x' if self.of == 'ratio' else ''}"


@dataclass(slots=True)
class Row:
    """One measured quantity, with the values of all repetitions; `raw[i]` and `elsa[i]` were measured in turn."""

    case: str
    what: str
    unit: str
    elsa: list[float] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)
    target: Target | None = None

    @property
    def ratios(self) -> list[float]:
        """Elsa's value by the raw loop's of the same repetition."""
        if len(self.raw) != len(self.elsa):  # one of them has no such case
            return []
        return [mine / theirs for mine, theirs in zip(self.elsa, self.raw, strict=True) if theirs]

    @property
    def verdict(self) -> bool | None:
        """Whether the target holds, None without one."""
        if self.target is None:
            return None
        values = self.ratios if self.target.of == "ratio" else self.elsa
        return bool(values) and self.target.holds(median(values))

    def as_json(self) -> dict[str, Any]:
        """Everything, for `--json`."""
        return {**asdict(self), "ratios": self.ratios, "passed": self.verdict}


def table(rows: list[Row]) -> str:
    """A Markdown table of medians (smallest-largest)."""
    lines = [
        ["case", "measured", "raw loop", "Elsa", "ratio", "target", ""],
        ["---"] * 7,
    ]
    for row in rows:
        verdict = {True: "pass", False: "MISSED", None: ""}[row.verdict]
        ratio = _shown(row.ratios) if row.ratios else ""
        target = "" if row.target is None else str(row.target)
        lines.append([row.case, f"{row.what}, {row.unit}", _shown(row.raw), _shown(row.elsa), ratio, target, verdict])
    widths = [max(len(line[column]) for line in lines) for column in range(7)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    padded[1] = ["-" * width for width in widths]
    return "\n".join("| " + " | ".join(line) + " |" for line in padded)


def _shown(values: list[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return _number(values[0])
    return f"{_number(median(values))} ({_number(min(values))}-{_number(max(values))})"


def _number(value: float) -> str:
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.4f}"
