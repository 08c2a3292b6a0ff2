"""How many messages of one handler may start per second in this process: its share of the handler's `rate`.

Partition workers reserve starts through their gates; group managers say which part of the topic's partitions is here.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from elsa.clock import Clock
    from elsa.handlers import Handler
    from elsa.worker.executors import Executor

#: starts are reserved for so many seconds at once, so that high rates need few timers
_CHUNK_SECONDS = 0.01


class Pace:
    """Spaces starts evenly; every change is under its lock."""

    def __init__(self, rate: float, clock: Clock) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._rate = rate
        #: by who says so: partitions that are here, and all there are
        self._shares: dict[Hashable, tuple[int, int]] = {}
        self._next = 0.0

    def share(self, whose: Hashable, here: int, everywhere: int) -> None:
        """So many of so many partitions are served here."""
        with self._lock:
            self._shares[whose] = here, max(here, everywhere)

    def set_rate(self, rate: float) -> None:
        """Messages per second of the whole group."""
        with self._lock:
            self._rate = rate
            # what was reserved by the old one may lie far ahead
            self._next = 0.0

    @property
    def here(self) -> float:
        """Messages per second of this process."""
        here = sum(share for share, _ in self._shares.values())
        everywhere = sum(total for _, total in self._shares.values())
        return self._rate * here / everywhere if here else self._rate

    def reserve(self, least: int) -> tuple[float, int]:
        """When (monotonic) and how many messages, `least` or more, the caller may start."""
        with self._lock:
            rate = self.here
            count = max(least, int(rate * _CHUNK_SECONDS))
            due = max(self._clock.monotonic(), self._next)
            self._next = due + count / rate
            return due, count


class Gate:
    """What one partition worker may start by one pace; the worker's lock guards it."""

    def __init__(self, pace: Pace, clock: Clock, least: int) -> None:
        self._pace = pace
        self._clock = clock
        self._least = least
        #: how many messages may start by what was reserved
        self._granted = 0
        #: when that begins, None when it has begun
        self.until: float | None = None

    def allow(self, wanted: int) -> int:
        """How many messages may start now; none before `until`, when the caller comes again."""
        if self.until is not None:
            return 0
        if self._granted == 0:
            due, self._granted = self._pace.reserve(self._least)
            if due > self._clock.monotonic():
                self.until = due
                return 0
        count = min(wanted, self._granted)
        self._granted -= count
        return count

    def give_back(self, count: int) -> None:
        """So many of those that were allowed have not started."""
        self._granted += count

    def open(self, now: float) -> None:
        """Time has passed."""
        if self.until is not None and now >= self.until:
            self.until = None


class Gates:
    """The gates of one partition worker, by the executor that runs what they let through; its lock guards them."""

    def __init__(self, gates: Mapping[Executor, Gate]) -> None:
        self._gates = gates

    def is_shut(self, executor: Executor) -> bool:
        """Whether nothing may start there before `due`."""
        gate = self._gates.get(executor)
        return gate is not None and gate.until is not None

    def allow(self, executor: Executor, wanted: int) -> int:
        """How many messages may start now; none before `due`."""
        gate = self._gates.get(executor)
        return wanted if gate is None else gate.allow(wanted)

    def give_back(self, executor: Executor, count: int) -> None:
        """So many of those that were allowed have not started."""
        gate = self._gates.get(executor)
        if gate is not None:
            gate.give_back(count)

    def open(self, now: float) -> None:
        """Time has passed."""
        for gate in self._gates.values():
            gate.open(now)

    @property
    def due(self) -> float | None:
        """When the next one opens, None when none is shut."""
        return min((gate.until for gate in self._gates.values() if gate.until is not None), default=None)


class Paces:
    """The paces of one process, by handler."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._made: dict[str, Pace] = {}
        #: what an operator has set, by handler; None: as fast as it goes
        self._set: dict[str, float | None] = {}

    def of(self, handler: Handler[Any, Any]) -> Pace | None:
        """The one of a handler, None for a handler without a rate."""
        with self._lock:
            rate = self._set.get(handler.name, handler.declared.rate)
            if rate is None:
                return None
            if handler.name not in self._made:
                self._made[handler.name] = Pace(rate, self._clock)
            return self._made[handler.name]

    def set_rate(self, handler: Handler[Any, Any], rate: float | None) -> None:
        """Give a handler another rate than it has declared; None: as fast as it goes."""
        with self._lock:
            self._set[handler.name] = rate
            pace = self._made.get(handler.name)
            if pace is not None and rate is not None:
                pace.set_rate(rate)
