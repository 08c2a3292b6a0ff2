"""What a partition worker keeps of messages in hand, by offset, until they are over; the worker's lock guards it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from elsa.worker.equipment import Inheritance


class Kept:
    """Failed attempts, told progress, and who runs alone. Turns read `attempts` without the lock."""

    def __init__(self, inherited: Inheritance, *, before: Callable[[Any], int] | None = None) -> None:
        #: failed attempts
        self.attempts = dict(inherited.attempts)
        #: where messages come back: how often each had failed before it came
        self.before = before
        #: grows with every failed attempt: what the group manager has to commit
        self.failures = 0
        #: what handlers have last told by `ctx.heartbeat`
        self.progress = dict(inherited.progress)
        #: members of batches that were given up: each runs once more, by itself
        self.alone = set(inherited.alone)

    def made(self, raw: Any) -> int:
        """How many attempts of a message have failed."""
        found = self.attempts.get(raw.offset())
        if found is None:
            found = 0 if self.before is None else self.before(raw)
        return found

    def count(self, raw: Any, attempt: int) -> None:
        """One more attempt of a message has failed."""
        self.attempts[raw.offset()] = attempt
        self.failures += 1

    def run_alone(self, raws: Sequence[Any], attempts: int) -> None:
        """These members of a failed batch run one at a time, at their last attempt."""
        for raw in raws:
            self.alone.add(raw.offset())
            self.attempts[raw.offset()] = attempts

    def forget(self, offsets: Iterable[int]) -> None:
        """Messages are over."""
        if self.attempts:
            for offset in offsets:
                self.attempts.pop(offset, None)
        if self.progress:
            for offset in offsets:
                self.progress.pop(offset, None)
        if self.alone:
            self.alone.difference_update(offsets)

    @property
    def most_attempts(self) -> int:
        """May be read by any thread."""
        return max(list(self.attempts.values()), default=0)
