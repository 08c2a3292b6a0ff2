"""How many dead letters there are of which kind: counted for listings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from elsa.dead_letters.letter import DeadLetter

#: different names that are counted one by one; a foreign topic may have one for each message
MOST_NAMES = 1_000
#: what stands for the others, and for those that do not say
OTHERS, NOTHING = "(others)", "-"


@dataclass(slots=True)
class Summary:
    """Counts of the dead letters of one topic; times in seconds since the epoch, None without any.

    `open` are those that were neither replayed nor dropped, `handled` the others, as far as they were looked at.
    """

    topic: str
    open: int = 0
    handled: int = 0
    oldest: float | None = None
    newest: float | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    handlers: Counter[str] = field(default_factory=Counter)


def summarise(topic: str, letters: Iterable[DeadLetter]) -> Summary:
    """Count dead letters."""
    summary = Summary(topic)
    for letter in letters:
        if letter.is_handled:
            summary.handled += 1
        else:
            summary.open += 1
        time = letter.timestamp
        if time is not None:
            summary.oldest = time if summary.oldest is None else min(summary.oldest, time)
            summary.newest = time if summary.newest is None else max(summary.newest, time)
        _count(summary.reasons, letter.reason)
        _count(summary.errors, letter.error_type)
        _count(summary.handlers, letter.handler)
    return summary


def _count(counter: Counter[str], name: str | None) -> None:
    name = name or NOTHING
    counter[name if name in counter or len(counter) < MOST_NAMES else OTHERS] += 1
