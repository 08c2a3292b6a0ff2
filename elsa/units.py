"""Reads durations, sizes, counts and booleans as people write them; used by the configuration and the command line."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any

_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|d)?", re.IGNORECASE)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(b|kb|kib|k|mb|mib|m|gb|gib|g)?", re.IGNORECASE)
_RATE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*/\s*(s|m|h|d)", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d+(_\d+)*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_BOOLEANS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def seconds(value: Any) -> float:
    """A duration in seconds from a number or from `30`, `1.5`, `500ms`, `30s`, `5m`, `2h`, `1d`.

    Raises ValueError with what is allowed.

    >>> seconds("500ms"), seconds("5m"), seconds(3)
    (0.5, 300.0, 3.0)
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        return float(found[1]) * _SECONDS[(found[2] or "s").lower()]
    raise ValueError('a duration: seconds (30, 1.5) or a text like "500ms", "30s", "5m", "2h"')


def size(value: Any) -> int:
    """A number of bytes from a whole number or from `64kB`, `16MB`, `1 GiB` (powers of 1024).

    Raises ValueError with what is allowed.

    >>> size("16MB") == 16 * 1024 * 1024
    True
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        return int(float(found[1]) * _BYTES[(found[2] or "b").lower()[0]])
    raise ValueError('a size: bytes (1048576) or a text like "64kB", "16MB", "1GB" (powers of 1024)')


def rate(value: Any) -> float:
    """Something per second from a number or from `100/s`, `10/m`, `5/h`, `1000/d`; above 0.

    Raises ValueError with what is allowed.

    >>> rate("30/m"), rate(5)
    (0.5, 5.0)
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    if isinstance(value, str) and (found := _RATE.fullmatch(value.strip())) and float(found[1]) > 0:
        return float(found[1]) / _SECONDS[found[2].lower()]
    raise ValueError('a rate above 0: per second (100, 0.5) or a text like "100/s", "10/m", "5/h"')


def per_second(value: Any) -> float:
    """As `rate`, and a text may leave out that it is per second: `100`.

    >>> per_second("100"), per_second("30/m"), per_second(0.5)
    (100.0, 0.5, 0.5)
    """
    return rate(f"{value}/s" if isinstance(value, str) and value.replace(".", "", 1).isdecimal() else value)


def bounds(value: Any) -> tuple[float, ...]:
    """Upper bounds of a histogram's buckets, rising and above 0, from a list or from `0.1, 1, 10`.

    Raises ValueError with what is allowed.

    >>> bounds("0.1, 1, 10")
    (0.1, 1.0, 10.0)
    """
    parts = value.split(",") if isinstance(value, str) else value
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        found = ()
    if not found or found[0] <= 0 or found[-1] == float("inf") or any(b <= a for a, b in itertools.pairwise(found)):
        raise ValueError("rising numbers above 0, like [0.1, 1, 10]")
    return found


def boolean(value: Any) -> bool:
    """True or False from a bool or from true/false, yes/no, on/off, 1/0. Raises ValueError with what is allowed.

    >>> boolean("yes"), boolean("off")
    (True, False)
    """
    if isinstance(value, bool):
        return value
    if (found := _BOOLEANS.get(str(value).strip().lower())) is not None:
        return found
    raise ValueError("true or false (also yes/no, on/off, 1/0)")


def whole(value: Any) -> int:
    """A whole number, also from its text. Raises ValueError with what is allowed.

    >>> whole("1_000")
    1000
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    raise ValueError("a whole number")


@dataclass(frozen=True, slots=True)
class Duration:
    """Reads seconds of at least `low`."""

    low: float = 0.001

    def __call__(self, value: Any) -> float:
        found = seconds(value)
        if found < self.low:
            raise ValueError(f"a duration of at least {self.low:g} s")
        return found


@dataclass(frozen=True, slots=True)
class Size:
    """Reads a number of bytes of at least `low`."""

    low: int = 1

    def __call__(self, value: Any) -> int:
        found = size(value)
        if found < self.low:
            raise ValueError(f"a size of at least {self.low} bytes")
        return found


@dataclass(frozen=True, slots=True)
class Whole:
    """Reads a whole number between `low` and `high`, both included."""

    low: int = 1
    high: int = 2**31 - 1

    def __call__(self, value: Any) -> int:
        allowed = (
            f"a whole number from {self.low} to {self.high}"
            if self.high < 2**31 - 1
            else (f"a whole number of at least {self.low}")
        )
        try:
            found = whole(value)
        except ValueError as error:
            raise ValueError(allowed) from error
        if not self.low <= found <= self.high:
            raise ValueError(allowed)
        return found


class Choice:
    """Reads one of some words, in any case."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __call__(self, value: Any) -> str:
        if isinstance(value, str) and (found := value.strip().lower()) in self.words:
            return found
        raise ValueError(f"one of {', '.join(self.words)}")


class Words:
    """Reads several words, from a list or a text with commas; with `allowed`, only those, in any case.

    >>> Words()("tenant, user"), Words("poll", "commit")(["Poll"])
    (('tenant', 'user'), ('poll',))
    """

    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed

    def __call__(self, value: Any) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, list | tuple) and all(isinstance(part, str) for part in parts):
            found = tuple(part.strip() for part in parts if part.strip())
            if not self.allowed:
                return found
            found = tuple(part.lower() for part in found)
            if set(found) <= set(self.allowed):
                return found
        written = ",".join(self.allowed[:2]) or "tenant,user"
        raise ValueError(f"a list of {', '.join(self.allowed) or 'words'}, written {written}")
