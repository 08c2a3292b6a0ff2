"""What the soak found: the table, what is wrong, and the verdict in one line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.benchmarks.measure import median
from tests.soak.ledger import AGAIN, FAILED_SENDS, GIVEN_UP, HANDLED, OUT_OF_ORDER, SIDE_BY_SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.soak.growth import Growth
    from tests.soak.ledger import Ledger


@dataclass(slots=True)
class Findings:
    """Filled while the soak runs; `wrong` says in words what must not be."""

    messages: int = 0
    seconds: float = 0.0
    keys: int = 0
    given_up: int = 0
    again: int = 0
    left: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    _gains: list[str] = field(default_factory=list)
    _rows: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def is_fine(self) -> bool:
        return not self.wrong

    def blame(self, what: str) -> None:
        """Something must not be."""
        self.wrong.append(what)

    def add_growth(self, name: str, unit: str, values: Sequence[float], found: Growth) -> None:
        """A row of something that must stay as it is."""
        verdict = ("flat" if found.is_flat else "GROWS") if found.is_judged else "too short to tell"
        gained = f"{found.gained:+.1f} of {found.limit:.1f}"
        self._rows.append(
            (f"{name} {unit}".strip(), _shown(values[0]), _shown(found.level), _shown(max(values)), gained, verdict)
        )
        if not found.is_flat:
            self.blame(f"{name} grew by {found.gained:.1f} {unit}".strip())
        if name == "worker process" and found.is_judged:
            self._gains.append(f"{found.gained:+.1f} MB of {found.level:.0f} MB in the second half")

    def add_size(self, name: str, values: Sequence[float]) -> None:
        """A row of something that goes up and down, and has to be empty at the end."""
        left = self.left.get(name, 0)
        middle = median(values[len(values) // 2 :])
        verdict = "empty at the end" if not left else f"{left} LEFT"
        self._rows.append((name, _shown(values[0]), _shown(middle), _shown(max(values)), "", verdict))

    def add_ledger(self, topic: str, ledger: Ledger) -> None:
        """What became of a topic's messages."""
        facts = ledger.facts
        self.keys += ledger.distinct()
        self.given_up += facts[GIVEN_UP]
        self.again += facts[AGAIN]
        missing = ledger.missing()
        for count, what in (
            (missing, "messages were never handled"),
            (facts[OUT_OF_ORDER], "messages came before one of the same key that is older"),
            (facts[SIDE_BY_SIDE], "calls began while one of the same key was running"),
            (facts[FAILED_SENDS], "messages of the sender were refused by the broker"),
        ):
            if count:
                self.blame(f"{topic}: {count} {what}")
        shown = f"{facts[HANDLED]:,} handled, {ledger.distinct():,} keys, {facts[GIVEN_UP]} dead letters"
        self._rows.append((topic, "", "", "", shown, f"{missing} missing" if missing else "complete"))

    def expect(self, what: str, found: int, wanted: int) -> None:
        """Two numbers that have to be equal."""
        if found != wanted:
            self.blame(f"{what}: {found:,}, and it should be {wanted:,}")

    def table(self) -> str:
        """Markdown."""
        lines = [("", "first", "second half", "largest", "gained, allowed", ""), *self._rows]
        widths = [max(len(line[column]) for line in lines) for column in range(6)]
        padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
        padded.insert(1, ["-" * width for width in widths])
        return "\n".join("| " + " | ".join(line) + " |" for line in padded)

    def verdict(self) -> str:
        """One line."""
        rate = self.messages / self.seconds if self.seconds else 0.0
        what = f"soak: {self.seconds:.0f} s, {self.messages:,} messages ({rate:,.0f}/s), {self.keys:,} keys"
        if self.wrong:
            return f"{what}: FAILED: {'; '.join(self.wrong)}"
        again = f", {self.again} delivered again" if self.again else ""
        flat = f"flat ({', '.join(self._gains)}), " if self._gains else ""
        return f"{what}: {flat}nothing lost, order kept{again}"


def _shown(value: float) -> str:
    return f"{value:,.0f}"
