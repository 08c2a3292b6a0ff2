"""Movers without their threads, a simulated broker, and a clock: nothing happens by itself.

The movers' code is the real one. At each step of a transaction a test may let something happen, in between as well as
instead.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import elsa
from elsa import headers as names
from elsa.delays.mover import Mover
from elsa.delays.topics import undeliverable_topic
from elsa.names import cancelled_topic, delay_topic
from elsa.observer import MoverObserver, Observer
from elsa.policies import delay
from elsa.testing.clock import FakeClock

from .clients import ScriptedConsumer, ScriptedProducer
from .cluster import NAME, SECONDS, TARGET, Broker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from elsa.message import TopicPartition

#: the steps of a transaction at which something may happen
STEPS = ("begin", "produce", "send_offsets", "commit", "abort")


class Crash(BaseException):
    """The process is gone, in the middle of what it did."""


@dataclass(frozen=True, slots=True)
class SkewedClock:
    """The clock of one machine."""

    clock: FakeClock
    skew: float

    def now(self) -> float:
        return self.clock.now() + self.skew

    def monotonic(self) -> float:
        return self.clock.monotonic()


class Counting(MoverObserver):
    """What is told of the movers."""

    def __init__(self) -> None:
        self.outcomes = Counter[str]()
        self.delays: list[float] = []
        self.aborts = Counter[str]()
        self.waiting = 0

    def moved(self, outcomes: Mapping[str, int], delays: Sequence[float]) -> None:
        self.outcomes.update(outcomes)
        self.delays += delays

    def aborted(self, code: str) -> None:
        self.aborts[code] += 1

    def due(self, messages: int) -> None:
        self.waiting = messages


class SimulatedMover:
    """One worker's mover, with the machine that it runs on."""

    def __init__(self, world: World, name: str, *, is_static: bool, skew: float = 0.0) -> None:
        self.world = world
        self.name = name
        self.is_static = is_static
        self.clock = SkewedClock(world.clock, skew)
        self.consumers: list[ScriptedConsumer] = []
        #: what the clients that may be throttled tell it to, by kind
        self.throttled: dict[str, Any] = {}
        self.waits_until = 0.0
        self.is_busy = False
        self.is_frozen = False
        self.mover = Mover(
            world.app,
            instance=name,
            is_static=is_static,
            clock=self.clock,
            make_consumer=self._consumer,
            make_producer=self._producer,
        )

    def _consumer(
        self,
        _: Any,
        group: str | None,
        *,
        instance: str | None = None,
        is_committed_only: bool = True,
        **callbacks: Any,
    ) -> Any:
        if group is not None:
            self.throttled["consumer"] = callbacks["on_throttled"]
        made = ScriptedConsumer(self, group, instance, callbacks, is_committed_only=is_committed_only)
        self.consumers = [one for one in self.consumers if not one.is_closed]
        self.consumers.append(made)
        return made

    def _producer(self, _: Any, identity: str, *, timeout: float, on_throttled: Any) -> Any:
        self.throttled["producer"] = on_throttled
        return ScriptedProducer(self, identity)

    def step(self) -> None:
        """What its thread does next, if it does not wait."""
        if self.is_busy or self.world.clock.monotonic() < self.waits_until:
            return
        self.is_busy = True
        try:
            self.waits_until = self.world.clock.monotonic() + self.mover.step()
        except Crash:
            self.world.gone(self)
        finally:
            self.is_busy = False

    def beat(self) -> None:
        if not self.is_frozen:
            for consumer in self.consumers:
                consumer.beat()

    def stop(self) -> None:
        """An orderly end."""
        self.mover.stop()
        self.is_busy = True
        with contextlib.suppress(Crash):
            self.mover._end(leave=True)
        self.world.gone(self)


class World:
    """A broker, movers that come and go, and what was sent: the model."""

    def __init__(self, *, partitions: int = 2, most_polled: int = 5) -> None:
        self.clock = FakeClock(1_000_000.0)
        self.most_polled = most_polled
        self.broker = Broker(self.clock, partitions)
        self.app = elsa.App(NAME)
        self.observer = Counting()
        self.app.observer = _Observer(self.observer)
        self.app.__dict__["topics"] = self.broker
        self.app.__dict__["groups"] = self
        self.movers: list[SimulatedMover] = []
        self._names = itertools.count()
        #: number -> (due, key, target partition)
        self.sent: dict[int, tuple[float, bytes | None, int | None]] = {}
        self.cancelled: set[int] = set()
        #: what happens next at a step: (mover, step, when) -> action
        self.plans: dict[tuple[str, str], list[Callable[[SimulatedMover], None]]] = defaultdict(list)
        #: how long it takes to end a transaction, in two steps
        self.step_seconds = 0.0

    # -- as `App.groups`

    def owned(self, group: str) -> set[TopicPartition] | None:
        self.broker.check_here()
        return set(self.broker.owners)

    # -- what a test can do ----------------------------------------------------------------------------

    def add_mover(self, name: str | None = None, *, is_static: bool = True, skew: float = 0.0) -> SimulatedMover:
        made = SimulatedMover(self, name or f"m{next(self._names)}", is_static=is_static, skew=skew)
        self.movers.append(made)
        return made

    def gone(self, mover: SimulatedMover) -> None:
        """A process has ended, in whatever way."""
        if mover in self.movers:
            self.movers.remove(mover)

    def send(self, wait: float, *, key: bytes | None = None, partition: int | None = None, topic: str = TARGET) -> int:
        """Put a message off, as `sending.address` does."""
        number = len(self.sent)
        due = round(self.clock.now() + wait, 3)
        self.sent[number] = (due, key, partition)
        target = topic if partition is None else f"{topic}:{partition}"
        seconds = delay.tier(wait)
        assert seconds is not None
        headers = delay.envelope([("number", b"%d" % number), (names.ID, b"id-%d" % number)], due=due, target=target)
        self.broker.append(delay_topic(NAME, seconds), b"%d" % number, key=key, headers=headers)
        return number

    def cancel(self, number: int, ttl: float = 7 * 24 * 3600.0) -> None:
        until = f"{self.clock.now() + ttl:.3f}".encode()
        self.broker.append(cancelled_topic(NAME), b"1", key=b"id-%d" % number, headers=[(names.EXPIRES_AT, until)])
        self.cancelled.add(number)

    def plan(self, step: str, when: str, action: Callable[[SimulatedMover], None]) -> None:
        """Let something happen at the next such step, whoever makes it."""
        self.plans[step, when].append(action)

    def happen(self, mover: SimulatedMover, step: str, when: str) -> None:
        if when == "before" and step in {"send_offsets", "commit"}:
            self.clock.advance(self.step_seconds)
        for action in self.plans.pop((step, when), []):
            action(mover)

    def freeze(self, mover: SimulatedMover, seconds: float) -> None:
        """A process stands still, in the middle of what it did, while the others go on."""
        mover.is_frozen = True
        for _ in range(round(seconds / 0.2)):
            self.round(0.2)
        mover.is_frozen = False

    def round(self, seconds: float = 0.02) -> None:
        """Time passes, clients send heartbeats, everybody does what there is to do."""
        self.clock.advance(seconds)
        for mover in list(self.movers):
            mover.beat()
        self.broker.expire()
        for mover in list(self.movers):
            mover.step()

    def run(self, seconds: float, step: float = 0.02) -> None:
        """Let time pass in small rounds."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.round(step)

    def skip(self, seconds: float) -> None:
        """Let much time pass in which nothing is due: heartbeats go on."""
        while seconds > 0:
            part = min(seconds, 9.0)
            self.clock.advance(part)
            for mover in self.movers:
                mover.beat()
            seconds -= part
        self.broker.expire()

    @property
    def next_due(self) -> float | None:
        """When the first message leaves its delay topic, by the broker's clock."""
        found = []
        for where, entries in self.broker.logs.items():
            seconds = SECONDS.get(where.topic)
            if seconds is None:
                continue
            for entry in entries[self.broker.commits.get(where, 0) :]:
                is_there = entry.transaction is None or entry.transaction.state == "committed"
                if is_there and not entry.is_marker:
                    found.append(entry.stamp / 1000 + seconds)
                    break
        return min(found, default=None)

    def run_dry(self, patience: float = 120.0) -> None:
        """Let everything that is waiting come to its end, over days if need be; fails when nothing gets on."""
        done, since = -1, 0.0
        while (due := self.next_due) is not None or self.broker.open:
            left = 0.0 if due is None else due - self.clock.now()
            if left > 8.0:
                self.skip(left - 7.0)
            self.round(0.05 if left < 1.0 else 0.3)
            assert self.observer.outcomes["delivered"] <= len(self.sent), "messages come more than once"
            got_on = self.observer.outcomes.total() - self.observer.outcomes["postponed"]
            if got_on != done or left > 0:
                done, since = got_on, self.clock.now()
            assert self.clock.now() < since + patience, f"stuck with {self.observer.outcomes}, {self.observer.aborts}"

    def check(self, *, lateness: float | None = None) -> None:
        """Each message arrived once, none early, those that cannot arrive are kept or cancelled."""
        seen = Counter(arrival.number for arrival in self.broker.arrivals())
        letters = Counter(letter.number for letter in self.broker.arrivals(undeliverable_topic(NAME)))
        for number, (due, key, partition) in self.sent.items():
            ends = seen[number] + letters[number]
            if number in self.cancelled:
                assert ends <= 1, f"{number} came {ends} times"
            else:
                assert ends == 1, f"{number} (due {due}, key {key!r}, to {partition}) came {ends} times"
        for arrival in self.broker.arrivals():
            due, key, partition = self.sent[arrival.number]
            assert arrival.appended >= due - 0.001, f"{arrival.number} came {due - arrival.appended:.3f} s early"
            assert partition is None or partition == arrival.partition
            if lateness is not None:
                late = arrival.visible - due
                assert late <= lateness, f"{arrival.number} came {late:.3f} s late"

    def end(self) -> None:
        self.app.stop()


class _Observer(Observer):
    def __init__(self, mover: Counting) -> None:
        self._mover = mover

    def mover(self) -> Counting:
        return self._mover
