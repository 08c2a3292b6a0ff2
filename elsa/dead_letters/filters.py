"""Which dead letters are meant: pure, made from what a user gives to a command or to `DeadLetters`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    """A Filter of what users write: one name or several, classes, text keys; raises ValueError for anything else.

    >>> make(handler="bill", error=[ValueError, "TimeoutError"]).errors
    ('builtins.ValueError', 'TimeoutError')
    """
    return Filter(
        _names("handler", handler, "a handler's name"),
        _names("error", error, "an exception class or the name of one"),
        _names("reason", reason, "a reason's name"),
        _key(key),
        _moment("since", since),
        _moment("until", until),
        _places(offsets),
    )


def _names(name: str, given: object, what: str) -> tuple[str, ...]:
    many = [given] if isinstance(given, str | type) else given
    found = list(many) if isinstance(many, Iterable) and not isinstance(many, bytes) else [None]
    if name == "error":
        found = [_error(one) for one in found]
    if not all(isinstance(one, str) for one in found):
        raise ValueError(f"{name}={given!r} is neither {what} nor a list of such")
    return tuple(map(str, found))


def _error(given: object) -> object:
    is_class = isinstance(given, type) and issubclass(given, BaseException)
    return f"{given.__module__}.{given.__qualname__}" if is_class else given  # type: ignore[attr-defined]  # a class


def _key(given: object) -> bytes | None:
    if given is None or isinstance(given, bytes):
        return given
    if isinstance(given, str):
        return given.encode()
    raise ValueError(f"key={given!r} is no key: give text or bytes")


def _moment(name: str, given: object) -> float | None:
    if given is None:
        return None
    if not isinstance(given, datetime):
        raise ValueError(f"{name}={given!r} is no time: give a datetime with a time zone")  # noqa: TRY004 - as all that is wrong
    if given.tzinfo is None:
        raise ValueError(f"{name}={given!r} has no time zone: add tzinfo=datetime.UTC, for example")
    return given.timestamp()


def _places(given: object) -> frozenset[tuple[int, int]]:
    if given is None:
        return frozenset()
    found = [_place(one) for one in given] if isinstance(given, Iterable) else [None]
    if not found:
        raise ValueError("offsets= names no dead letter; leave it out to mean all of them")
    places = frozenset(place for place in found if place is not None)
    if None in found:
        raise ValueError(f"offsets={given!r} is no list of (partition, offset), like [(0, 17)]")
    return places


def _place(given: object) -> tuple[int, int] | None:
    is_pair = isinstance(given, tuple | list) and len(given) == 2 and all(map(_is_number, given))
    return (given[0], given[1]) if is_pair else None  # type: ignore[index]  # checked


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_named(full: str | None, wanted: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of these, given as a whole or by its last parts."""
    return full is not None and any(full == name or full.endswith(f".{name}") for name in wanted)
