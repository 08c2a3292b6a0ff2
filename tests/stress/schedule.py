"""What goes wrong and when: from a seed, so that a run can be repeated. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: every fault there is, with what its `value` means
FAULTS = {
    "kill": "kill -9 of a worker process, which its supervisor replaces",
    "kill-host": "kill -9 of a worker with its supervisor, back after so many seconds",
    "term": "TERM of a worker, another takes its place so many seconds after its end",
    "roll": "HUP: a rolling restart",
    "freeze": "SIGSTOP of a worker with its supervisor for so many seconds, longer than the session",
    "cut": "no network for worker 0 for so many seconds",
    "broker-kill": "kill -9 of a broker, back after so many seconds",
    "broker-stop": "an orderly stop of a broker, back after so many seconds",
    "scale": "so many workers from now on",
    "grow": "so many more partitions of a topic",
    "burst": "so many messages that fail or are rejected, at once",
}
_OF_BROKERS = ("broker-kill", "broker-stop")
#: before the first fault all members have joined
FIRST_SECONDS = 5.0
#: before the stream ends, what was broken last shows what it does
LAST_SECONDS = 5.0
#: a broker that came back is in sync again before the next one goes: two of three away stop everything
_BROKER_REST_SECONDS = 15.0
#: a worker that was hit does some work before the next hit
_WORKER_REST_SECONDS = 8.0
MOST_WORKERS = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """`at` and `ends_at` are seconds after the stream began; `target` is a worker from 0, a broker from 1, a kind."""

    at: float
    what: str
    target: int = 0
    value: float = 0.0

    @property
    def ends_at(self) -> float:
        """When what was taken away comes back."""
        lasts = self.what in ("kill-host", "freeze", "cut", *_OF_BROKERS)
        return self.at + (self.value if lasts else 0.0)


def plan(
    seed: int,
    seconds: float,
    *,
    faults: Sequence[str] = tuple(FAULTS),
    workers: int = 2,
    session: float = 6.0,
    kinds: int = 1,
    brokers: int = 3,
) -> list[Fault]:
    """The faults of a stream of `seconds`: the wanted ones dealt like cards, so that each comes before any comes twice.

    Never two brokers are away at once, and no worker is hit while it is away.
    """
    return _Dealer(seed, workers, session, kinds, brokers).deal(seconds, faults)


class _Dealer:
    """One deal: who is away until when, how many workers there are."""

    def __init__(self, seed: int, workers: int, session: float, kinds: int, brokers: int) -> None:
        self._chance = random.Random(seed)
        self._workers = workers
        self._session = session
        self._kinds = kinds
        self._brokers = brokers
        self._free_at = [0.0] * MOST_WORKERS
        self._brokers_free_at = 0.0

    def deal(self, seconds: float, faults: Sequence[str]) -> list[Fault]:
        found: list[Fault] = []
        at = FIRST_SECONDS
        while True:
            for what in self._chance.sample(faults, len(faults)):
                fault = self._make(what, at)
                if max(fault.at, fault.ends_at) > seconds - LAST_SECONDS:
                    return found
                found.append(fault)
                at = fault.at + self._chance.uniform(1.0, 8.0)

    def _make(self, what: str, at: float) -> Fault:
        if what in _OF_BROKERS:
            return self._of_broker(what, at)
        if what == "scale":
            return self._scale(at)
        if what == "grow":
            return Fault(at, what, self._chance.randrange(self._kinds), self._chance.randint(1, 2))
        if what == "burst":
            return Fault(at, what, self._chance.randrange(self._kinds), self._chance.randint(20, 200))
        return self._of_worker(what, at)

    def _of_broker(self, what: str, at: float) -> Fault:
        fault = Fault(
            max(at, self._brokers_free_at), what, self._chance.randint(1, self._brokers), self._chance.uniform(0.5, 15)
        )
        self._brokers_free_at = fault.ends_at + _BROKER_REST_SECONDS
        return fault

    def _scale(self, at: float) -> Fault:
        wanted = self._chance.choice([n for n in range(1, MOST_WORKERS + 1) if n != self._workers])
        # those that are to go must be there to hear it
        at = max([at, *self._free_at[wanted : self._workers]])
        for number in range(min(wanted, self._workers), max(wanted, self._workers)):
            self._free_at[number] = at + _WORKER_REST_SECONDS
        self._workers = wanted
        return Fault(at, "scale", 0, wanted)

    def _of_worker(self, what: str, at: float) -> Fault:
        running = [0] if what == "cut" else range(self._workers)
        free = [n for n in running if self._free_at[n] <= at]
        target = self._chance.choice(free) if free else min(running, key=lambda n: self._free_at[n])
        value = {
            "kill-host": self._chance.uniform(0.5, 1.5 * self._session),
            "term": self._chance.uniform(0.0, 3.0),
            "freeze": self._session * self._chance.uniform(1.4, 2.2),
            # both within the session and beyond it
            "cut": self._session * self._chance.uniform(0.3, 2.2),
        }.get(what, 0.0)
        fault = Fault(max(at, self._free_at[target]), what, target, value)
        self._free_at[target] = fault.ends_at + _WORKER_REST_SECONDS
        return fault
