"""Which dead letters are meant: pure, made from what a user gives to a command or to `DeadLetters`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from elsa.dead_letters.letter import DeadLetter


@dataclass(frozen=True, slots=True)
class Filter:
    """Matches a dead letter that fits everything given; of several names one is enough.

    `since` is included, `until` is not; both are seconds since the epoch. `places` are (partition, offset).
    """

    handlers: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    key: bytes | None = None
    since: float | None = None
    until: float | None = None
    places: frozenset[tuple[int, int]] = frozenset()

    def matches(self, letter: DeadLetter) -> bool:
        """Whether a dead letter is meant."""
        return (
            (not self.places or (letter.partition, letter.offset) in self.places)
            and (not self.handlers or _is_named(letter.handler, self.handlers))
            and (not self.errors or _is_named(letter.error_type, self.errors))
            and (not self.reasons or letter.reason in self.reasons)
            and (self.key is None or letter.key == self.key)
            and ((self.since is None and self.until is None) or self._is_then(letter.timestamp))
        )

    def _is_then(self, timestamp: float | None) -> bool:
        if timestamp is None:
            return False
        return (self.since is None or timestamp >= self.since) and (self.until is None or timestamp < self.until)


def make(
    *,
    handler: str | Iterable[str] = (),
    error: str | type[BaseException] | Iterable[str | type[BaseException]] = (),
    reason: str | Iterable[str] = (),
    key: str | bytes | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    offsets: Iterable[tuple[int, int]] | None = None,
) -> Filter:
    """A Filter of what users write: one name or several, classes, text keys; raises ValueError for a naive time.

    >>> make(handler="bill", error=[ValueError, "TimeoutError"]).errors
    ('builtins.ValueError', 'TimeoutError')
    """
    errors = [error] if isinstance(error, str | type) else list(error)
    places = frozenset(offsets or ())
    if offsets is not None and not places:
        raise ValueError("offsets= names no dead letter; leave it out to mean all of them")
    return Filter(
        _names(handler),
        tuple(f"{one.__module__}.{one.__qualname__}" if isinstance(one, type) else one for one in errors),
        _names(reason),
        key.encode() if isinstance(key, str) else key,
        _moment("since", since),
        _moment("until", until),
        places,
    )


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _moment(name: str, given: datetime | None) -> float | None:
    if given is None:
        return None
    if given.tzinfo is None:
        raise ValueError(f"{name}={given!r} has no time zone: add tzinfo=datetime.UTC, for example")
    return given.timestamp()


def _is_named(full: str | None, wanted: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of these, given as a whole or by its last parts."""
    return full is not None and any(full == name or full.endswith(f".{name}") for name in wanted)
