"""What probes answer: whether something is well, by checks that say why not; made by the worker and the monitor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: `age` and `limit` are seconds, `hint` says what to do where it is not ok."""

    name: str
    #: the group, handler or hook that is meant
    about: str = ""
    ok: bool
    age: float | None = None
    limit: float | None = None
    hint: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON shows it."""
        found = asdict(self)
        if self.age is not None:
            found["age"] = round(self.age, 1)
        if not self.about:
            del found["about"]
        if self.ok:
            del found["hint"]
        return found


def aged(name: str, age: float, limit: float, hint: str, about: str = "") -> Check:
    """A check that holds as long as something is not older than its limit.

    >>> aged("poll", 3.0, 2.0, "restart").ok
    False
    """
    return Check(name=name, about=about, ok=age <= limit, age=age, limit=limit, hint=hint)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a probe is true, and why: one document for each check."""

    name: str
    checks: Sequence[Mapping[str, Any]]

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check["ok"] for check in self.checks)

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """The checks that do not hold."""
        return [check for check in self.checks if not check["ok"]]

    def document(self) -> dict[str, Any]:
        """The body of the answer."""
        return {self.name: self.ok, "checks": list(self.checks)}
