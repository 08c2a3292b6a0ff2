"""When periodic tasks fire: pure, called where they are declared, by the scheduler and by the harness.

Moments are whole milliseconds of the epoch, so that two machines compare them exactly: a fire time is part of the
message's id. Cron expressions follow Debian's cron where the clocks are changed. A time that is skipped fires once, as
soon as there is a time again; one that comes twice fires the first time only. Where the minute or the hour begins with
`*`, the expression goes by elapsed time instead: nothing of a repeated hour is left out.
"""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from cronsim import CronSim, CronSimError

from elsa import units

#: what comes after the last fire time; the most that six bytes hold
NEVER = 2**48 - 1
#: fire times that were missed are counted up to here
MOST_COUNTED = 1_000
#: a transaction takes about this long
_LEAST_PERIOD = 100
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_EXPRESSION = '"minute hour day month weekday", for example "*/5 * * * *", or @hourly, @daily, @weekly, @monthly'
#: the year 9892: soon after it the calendar ends
_FAR = 250_000_000_000_000


class Rule(Protocol):
    """A series of fire times; its text says all of it."""

    def next(self, after: int) -> int:
        """The first fire time after a moment, NEVER when there is none."""
        ...

    def __str__(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Every:
    """The multiples of a period, counted from 1970: every copy knows them, and a restart does not shift them.

    >>> Every.of(90).next(moment(100.0))
    180000
    """

    period: int

    @classmethod
    def of(cls, seconds: Any) -> Every:
        """From seconds, a timedelta, or a text like "5m"; raises ValueError with what is allowed."""
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        period = round(units.seconds(seconds) * 1000)
        if period < _LEAST_PERIOD:
            raise ValueError(f"a period of at least {_LEAST_PERIOD / 1000:g} s")
        return cls(period)

    def next(self, after: int) -> int:
        return (after // self.period + 1) * self.period

    def __str__(self) -> str:
        return f"every {self.period / 1000:g} s"


@dataclass(frozen=True, slots=True)
class Cron:
    """The fire times of a cron expression of five fields in a time zone.

    >>> iso(Cron.of("30 2 * * *", "Europe/Copenhagen").next(moment(1_774_700_000)))
    '2026-03-29T01:00:00Z'
    """

    expression: str
    zone: zoneinfo.ZoneInfo

    @classmethod
    def of(cls, expression: Any, zone: Any = "UTC") -> Cron:
        """From an expression and the name of a time zone; raises ValueError with what is allowed."""
        made = cls(_expression(expression), _zone(zone))
        if made.next(0) == NEVER:
            raise ValueError(f"{expression!r} fires never: there is no such day")
        return made

    def next(self, after: int) -> int:
        if after >= _FAR:
            return NEVER
        series = CronSim(self.expression, datetime.fromtimestamp(after // 1000, UTC).astimezone(self.zone))
        for local in series:
            found = round(local.timestamp()) * 1000
            # where an hour is repeated, the series of wall times begins with the first of both
            if found > after:
                return found
        return NEVER

    def __str__(self) -> str:
        return f"{self.expression} {self.zone.key}"


def _expression(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{given!r} is no cron expression: it is a text, {_EXPRESSION}")  # noqa: TRY004 - the declaration makes a DeclarationError of it
    text = " ".join(_ALIASES.get(given.strip().lower(), given).split())
    if len(text.split(" ")) != 5:
        raise ValueError(f"{given!r} is no cron expression: it has five fields, {_EXPRESSION}; for seconds use every()")
    try:
        CronSim(text, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"{given!r} is no cron expression: {str(error).lower()}; it is {_EXPRESSION}") from error
    return text


def _zone(given: Any) -> zoneinfo.ZoneInfo:
    if isinstance(given, zoneinfo.ZoneInfo) and given.key:
        return given
    try:
        return zoneinfo.ZoneInfo(given)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        missing = "" if zoneinfo.available_timezones() else "; this system has no time zones: pip install tzdata"
        raise ValueError(
            f"timezone={given!r} is not known: it is a name like 'Europe/Copenhagen' or 'UTC'{missing}"
        ) from error


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done for one schedule now."""

    #: fire times to be sent, in their order
    fires: tuple[int, ...]
    #: how many fire times are later than the limit, and left out; counted up to MOST_COUNTED
    missed: int
    #: the fire times up to this moment are decided
    through: int


def decide(rule: Rule, *, through: int, now: int, limit: int, most: int) -> Decision:
    """What of a schedule that is decided `through` a moment is due at another, and not later than `limit` milliseconds.

    At most `most` fire times are given at once, the oldest ones.

    >>> decide(Every(1000), through=5000, now=9500, limit=2000, most=10)
    Decision(fires=(8000, 9000), missed=2, through=9500)
    """
    missed = 0
    following = rule.next(through)
    while following < now - limit and missed < MOST_COUNTED:
        missed += 1
        following = rule.next(following)
    if following < now - limit:
        following = rule.next(now - limit - 1)
    fires: list[int] = []
    while following <= now and len(fires) < most:
        fires.append(following)
        following = rule.next(following)
    return Decision(tuple(fires), missed, max(through, now) if following > now else fires[-1])


def moment(seconds: float) -> int:
    """Seconds of the epoch as a moment; what is a hundredth of a millisecond short of one is that one.

    >>> moment(1_764_115_200.3)
    1764115200300
    """
    return int(seconds * 1000 + 0.01)


def iso(moment: int) -> str:
    """A moment in words, in UTC.

    >>> iso(1_764_115_200_000), iso(1_764_115_200_500)
    ('2025-11-26T00:00:00Z', '2025-11-26T00:00:00.500Z')
    """
    text = (datetime(1970, 1, 1) + timedelta(milliseconds=moment)).isoformat(timespec="milliseconds")  # noqa: DTZ001 - Z is written below
    return text.removesuffix(".000") + "Z"
