"""What has gone wrong with messages of one partition beyond a failed call: deaths of processes, crashes, refusals.

Each is counted by offset, until that is committed. Owned by the partition's `Assigned`, so by the group manager's
thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from elsa.policies.backoff import Backoff
from elsa.worker.caution import MOST_DEATHS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from elsa.outcome import Outcome


class Refusal(NamedTuple):
    """Why what a `call` has sent was refused to its transaction, and how often that was so."""

    error: BaseException
    times: int
    call: Outcome


class Mishaps:
    """Of one assignment of one partition; `deaths` are those that its last commit tells of."""

    __slots__ = ("_crashes", "_refusals", "alone", "deaths", "refused")

    def __init__(self, deaths: Mapping[int, int]) -> None:
        #: how often a process has died while it handled these offsets
        self.deaths = dict(deaths)
        #: by offset, until a worker is told
        self.refused: dict[int, Refusal] = {}
        self._refusals: dict[int, int] = {}
        #: of calls with several messages that were refused: each runs by itself
        self.alone: set[int] = set()
        #: at which offsets that are not done the worker has crashed, and how often
        self._crashes: dict[int, Backoff] = {}

    def died(self, offsets: Iterable[int]) -> None:
        """A process has died while it handled these."""
        for offset in offsets:
            self.deaths[offset] = self.deaths.get(offset, 0) + 1

    def suspects(self, least: int, most: int) -> list[int]:
        """The offsets with so many deaths."""
        return [offset for offset, count in self.deaths.items() if least <= count <= most]

    def deaths_from(self, offset: int) -> dict[int, int]:
        """The deaths at this offset and above it; nobody will ask for others any more."""
        if self.deaths:
            self.deaths = {one: count for one, count in self.deaths.items() if one >= offset}
        return self.deaths

    def crash(self, at: int, base: int) -> Backoff:
        """The worker has crashed at this offset, `base` is the lowest unfinished one; how long to pause.

        Messages that crash it in turns each have a count of their own, or none of them would ever be halted.
        """
        self._crashes = {one: backoff for one, backoff in self._crashes.items() if one >= base}
        return self._crashes.setdefault(at, Backoff(first=0.2, most=30.0))

    def refuse(self, offsets: Sequence[int], error: BaseException, call: Outcome) -> bool:
        """What the `call` of these has sent is nothing that a broker takes; whether a worker will be told of it.

        Of several messages none is known to be the one: each runs alone from then on.
        """
        if len(offsets) > 1:
            self.alone.update(offsets)
            return False
        offset = offsets[0]
        if offset not in self.refused:
            times = self._refusals[offset] = self._refusals.get(offset, 0) + 1
            self.refused[offset] = Refusal(error, times, call)
        return self.refused[offset].call is call

    def take_refused(self) -> dict[int, Refusal]:
        """What was refused and no worker was told yet; the caller tells it."""
        refused, self.refused = self.refused, {}
        return refused

    def committed(self, offset: int) -> None:
        """Everything below is committed."""
        if self._refusals:
            self._refusals = {one: count for one, count in self._refusals.items() if one >= offset}
        if self.alone:
            self.alone = {one for one in self.alone if one >= offset}

    def forgive(self) -> None:
        """An operator has seen to it: crashes are counted anew, and what was given up as poison runs once more."""
        self._crashes.clear()
        self.deaths = {offset: count for offset, count in self.deaths.items() if count < MOST_DEATHS}
