"""An owner of schedules that others have taken over from does not know it yet, and goes on.

It stands still in the middle of a transaction, and its successor fires what is due meanwhile. What the first one has
begun must not be sent beside it: the broker refuses offsets of a membership that is over (KIP-447), and an offset on
which a transaction hangs is not read before its end. Or two have the same name, where hosts are named alike.
"""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.clock import SYSTEM
from elsa.kafka import probe
from elsa.kafka.transactions import TransactionalProducer
from elsa.names import schedules_topic
from elsa.observer import Observer, ScheduleObserver
from elsa.schedules.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from elsa.testing.kafka import Groups, Topics

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PATIENCE_SECONDS = 60.0


class Stalling(TransactionalProducer):
    """Stands still at one call of one transaction, until it may go on."""

    at = ""
    stalled = threading.Event()
    may_go_on = threading.Event()

    def _stall(self, call: str) -> None:
        if call == self.at and not self.stalled.is_set():
            self.stalled.set()
            assert self.may_go_on.wait(PATIENCE_SECONDS)

    def send_offsets(self, *args: Any) -> None:
        self._stall("before the offsets")
        super().send_offsets(*args)
        self._stall("after the offsets")


class Fired(Observer):
    """Counts the calls of each scheduler: the first one asks for its observers first."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}

    def schedule(self, name: str) -> ScheduleObserver:
        counts = self.counts.setdefault(name, [])
        counts.append(0)
        at = len(counts) - 1

        class Counting(ScheduleObserver):
            def fired(self, delays: Sequence[float]) -> None:
                counts[at] += len(delays)

        return Counting()

    def has_fired(self, scheduler: int) -> bool:
        return all(counts[scheduler] for counts in self.counts.values())


@pytest.fixture
def app(brokers: str, topic: Topics, group: Groups) -> Iterator[elsa.App]:
    # a client that does not come round for so long leaves the group
    made = elsa.App(group(), brokers=brokers, max_poll_interval=6, session_timeout=6, observer=Fired())
    task = made.task(name="tick", topic=topic())(lambda: None)
    for name in ("one", "two", "three", "four"):
        made.every(1, name=name)(task)
    yield made
    made.topics.delete(schedules_topic(made.name), missing_ok=True)
    probe.delete_groups(brokers, [f"{made.name}.scheduler"])
    made.stop()


def sent(app: elsa.App) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    (task,) = app.registry
    for message in app.stream(task.topic):
        name, _, at = (message.header("elsa-id") or b"").decode().partition(":")
        found.setdefault(name, []).append(datetime.fromisoformat(at).timestamp())
    return found


def wait_until(is_so: Callable[[], bool]) -> None:
    end = SYSTEM.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert SYSTEM.monotonic() < end
        threading.Event().wait(0.1)


def wait_until_fired(app: elsa.App, moment: float) -> dict[str, list[float]]:
    """Wait until a reader of what is committed sees that every schedule has fired after a moment."""

    def has_fired() -> bool:
        found = sent(app)
        return len(found) == 4 and min(max(times) for times in found.values()) > moment

    wait_until(has_fired)
    return sent(app)


@pytest.mark.parametrize("at", ["before the offsets", "after the offsets"])
def test_what_a_stalled_owner_has_begun_is_not_sent_beside_its_successor(app: elsa.App, at: str) -> None:
    producer: Any = type(
        "Producer", (Stalling,), {"at": "", "stalled": threading.Event(), "may_go_on": threading.Event()}
    )
    observer = app.observer
    assert isinstance(observer, Fired)
    first = Scheduler(app, instance="first", make_producer=producer)
    second = Scheduler(app, instance="second")
    first.start()
    try:
        wait_until_fired(app, 0)
        producer.at = at
        assert producer.stalled.wait(PATIENCE_SECONDS)
        stalled = SYSTEM.now()
        second.start()
        # all of them: those of the first one, too
        wait_until(lambda: observer.has_fired(1))
        producer.may_go_on.set()
        resumed = SYSTEM.now() - stalled
        found = wait_until_fired(app, SYSTEM.now() + 2)
        print(f"stalled for {resumed:.1f} s")
    finally:
        producer.may_go_on.set()
        for one in (first, second):
            one.stop()
        for one in (first, second):
            assert one.join(PATIENCE_SECONDS)

    check(found)


def check(found: dict[str, list[float]]) -> None:
    for name, times in found.items():
        assert times == [times[0] + number for number in range(len(times))], name


def test_of_two_with_one_name_the_older_goes_on_under_another(app: elsa.App) -> None:
    observer = app.observer
    assert isinstance(observer, Fired)
    first, second = (Scheduler(app, instance="host-0", is_static=True) for _ in range(2))
    first.start()
    try:
        wait_until(lambda: observer.has_fired(0))
        second.start()
        wait_until(lambda: observer.has_fired(1))

        def instances() -> list[str]:
            members = app.groups.describe(f"{app.name}.scheduler").members
            return sorted(member.instance or "" for member in members)

        wait_until(lambda: len(instances()) == 2)
        own, other = instances()
        found = wait_until_fired(app, SYSTEM.now() + 2)
    finally:
        for one in (first, second):
            one.stop()
        for one in (first, second):
            assert one.join(PATIENCE_SECONDS)

    assert {own[:7], other[:7]} == {"host-0-"}
    assert "host-0-scheduler" in (own, other)
    check(found)
