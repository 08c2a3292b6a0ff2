"""What the probes of `elsa monitor` answer, with the reason where it is no; pure, called by `watch`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something is younger than `limit`: `age` and `limit` are seconds, `hint` is the reason where it is not.

    >>> Verdict("ready", "look", 75.04, 60.0, "Kafka is away").document()["checks"]
    [{'name': 'look', 'ok': False, 'age': 75.0, 'limit': 60.0, 'hint': 'Kafka is away'}]
    """

    name: str
    check: str
    #: None where it has never been
    age: float | None
    limit: float
    hint: str

    @property
    def ok(self) -> bool:
        """Whether the probe is a yes."""
        return self.age is not None and self.age <= self.limit

    def document(self) -> dict[str, Any]:
        """The body of the answer, of the shape that a worker's has."""
        age = None if self.age is None else round(self.age, 1)
        check = {"name": self.check, "ok": self.ok, "age": age, "limit": self.limit}
        return {self.name: self.ok, "checks": [check if self.ok else {**check, "hint": self.hint}]}


@dataclass(frozen=True, slots=True)
class Started:
    """That the monitor serves: whoever gets an answer knows."""

    name: str = "started"
    ok: bool = True

    def document(self) -> dict[str, Any]:
        """The body of the answer."""
        return {self.name: self.ok, "checks": []}


def live(age: float, limit: float) -> Verdict:
    """Whether the loop has come round; that Kafka is away does not count."""
    return Verdict("live", "loop", age, limit, "the loop hangs: restart the monitor")


def ready(age: float | None, limit: float, trouble: str) -> Verdict:
    """Whether what is shown is fresh; `trouble` is why the last look failed, empty where it did not."""
    if trouble:
        last = f"the last look failed: {trouble}"
    else:
        last = "the first look is not done" if age is None else "the next look is not done"
    seen = "nothing has been seen yet" if age is None else f"what was seen last is older than {limit:g} s"
    return Verdict("ready", "look", age, limit, f"{seen}, {last}")
