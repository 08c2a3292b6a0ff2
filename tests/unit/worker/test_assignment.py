"""The partitions that one group manager owns: what is admitted, given back and forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.clock import SYSTEM
from elsa.message import TopicPartition
from elsa.observer import GroupObserver, HandlerObserver, Observer
from elsa.testing.clock import FakeClock
from elsa.worker.assignment import Assignment
from elsa.worker.budget import Budget
from elsa.worker.pace import Paces
from elsa.worker.routes import Routes
from elsa.worker.starts import Begin
from elsa.worker.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.worker.assigned import Assigned


class Executors:
    """Takes every lane and runs none."""

    def of(self, _: Any) -> Executors:
        return self

    def submit(self, worker: Any) -> None:
        """Nothing ever runs here."""


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-assignment")

    @app.handler("t")
    def handle(body: bytes) -> None:
        """Never called."""

    yield app
    app.stop()


def make(app: elsa.App, budget: Budget, mail: list[Any], *, paces: Paces | None = None) -> Assignment:
    around = Surroundings(
        app=app,
        executors=Executors(),  # type: ignore[arg-type]  # a stand-in
        settlement=None,  # type: ignore[arg-type]  # nothing is settled here
        budget=budget,
        clock=SYSTEM,
        fail=lambda text, _: pytest.fail(text),
        paces=paces or Paces(SYSTEM),
    )
    return Assignment(around, "g", post=mail.append, observer=GroupObserver())


def take(assignment: Assignment, app: elsa.App, number: int) -> Assigned:
    assigned = assignment.add(TopicPartition("t", number), app.registry.bindings()[0], Begin(0, -1))
    assignment.start(assigned, 1)
    return assigned


def test_the_observers_of_tasks_are_made_once_for_all_partitions() -> None:
    made: list[tuple[str | None, str, str]] = []

    class Told(Observer):
        def handler(self, group: str | None, topic: str, handler: str) -> HandlerObserver:
            made.append((group, topic, handler))
            return HandlerObserver()

    app = elsa.App("unit-assignment-tasks", observer=Told())
    for name in ("mail", "bill"):
        app.task(topic="t", name=name)(lambda: None)
    assignment = make(app, Budget(messages=20, size=10_000), [])
    one, two = (take(assignment, app, number) for number in range(2))
    app.stop()

    assert made == [("g", "t", name) for name in ("tasks of t", "mail", "bill")]
    assert one.task_observers is two.task_observers
    assert one.worker is not None
    assert one.worker.observer_of("bill") is one.task_observers["bill"]
    assert one.worker.observer_of("tasks of t") is one.observer


def test_no_partition_waits_for_another_ones_handler(app: elsa.App, raw: Any) -> None:
    assignment = make(app, Budget(messages=20, size=10_000), [])
    partitions = [take(assignment, app, number) for number in range(8)]
    slow, *others = partitions
    assignment.receive(slow, [raw(offset, b"v", partition=0) for offset in range(50)])
    assert slow.tracker.unfinished == 16

    for number, assigned in enumerate(others, 1):
        assignment.receive(assigned, [raw(offset, b"v", partition=number) for offset in range(50)])
    for _ in range(50):
        for assigned in others:
            assignment.finished(assigned, [assigned.tracker.base])
        assignment.admit_waiting()

    assert [assigned.tracker.base for assigned in others] == [50] * 7
    assert slow.tracker.base == 0


def test_every_partition_gets_its_turn_when_there_is_room_for_few(app: elsa.App, raw: Any) -> None:
    assignment = make(app, Budget(messages=10, size=1000), [])
    partitions = [take(assignment, app, number) for number in range(80)]
    for number, assigned in enumerate(partitions):
        assignment.receive(assigned, [raw(offset, b"v", partition=number) for offset in range(50)])
    for _ in range(10):
        for assigned in partitions:
            assignment.finished(assigned, [assigned.tracker.base])
        for _ in range(3):
            assignment.admit_waiting()

    assert min(assigned.tracker.base for assigned in partitions) >= 8


@pytest.mark.parametrize("end", ["remove", "restart"])
def test_what_is_given_up_gives_its_budget_back(app: elsa.App, raw: Any, end: str) -> None:
    budget = Budget(messages=10, size=100, max_messages=20)
    assignment = make(app, budget, [])
    assigned = take(assignment, app, 0)
    assignment.receive(assigned, [raw(offset, b"12345678") for offset in range(12)])
    assert budget.room(10, 80) == 0
    assignment.finished(assigned, [0, 3])
    assignment.held(assigned, [1])
    if end == "remove":
        assignment.remove([assigned.partition])
    else:
        assignment.restart(assigned)

    assert budget.room(0, 0) == 8
    assert not assignment.is_waiting


class TestSharesOfARate:
    """Which part of a handler's rate falls to this process: that of its partitions in all of the handler's topics."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    def rate(self, app: elsa.App, owned: dict[str, int], topics: dict[str, int], clock: FakeClock) -> float:
        """The pace here after so many partitions of each topic were taken, one after the other."""
        paces = Paces(clock)
        assignment = make(app, Budget(messages=20, size=10_000), [], paces=paces)
        bindings = app.registry.bindings()
        routes = Routes(bindings, "g")
        for topic, count in owned.items():
            binding = routes.binding(topic)
            assert binding is not None
            for number in range(count):
                assignment.start(assignment.add(TopicPartition(topic, number), binding, Begin(0, -1)), 1)
            assignment.share_rates(bindings, routes, topics)
        pace = paces.of(bindings[0].first)
        assert pace is not None
        return pace.here

    @pytest.fixture
    def fresh(self) -> Iterator[elsa.App]:
        app = elsa.App("unit-shares")
        yield app
        app.stop()

    def declare(self, app: elsa.App, topics: str | list[str], **options: Any) -> None:
        @app.handler(topics, rate=12, **options)
        def handle(body: bytes) -> None:
            """Never called."""

    def test_it_is_that_of_the_partitions(self, fresh: elsa.App, clock: FakeClock) -> None:
        self.declare(fresh, "a")

        assert self.rate(fresh, {"a": 2}, {"a": 6, "b": 6}, clock) == 4

    def test_a_topic_of_which_nothing_is_here_counts(self, fresh: elsa.App, clock: FakeClock) -> None:
        """Members that each have one of the topics would take the whole rate each."""
        self.declare(fresh, ["a", "b"])

        assert self.rate(fresh, {"a": 6}, {"a": 6, "b": 6}, clock) == 6

    def test_a_topic_that_went_away_from_here_does_not_count_for_us(self, fresh: elsa.App, clock: FakeClock) -> None:
        self.declare(fresh, ["a", "b"])
        paces = Paces(clock)
        bindings = fresh.registry.bindings()
        assignment = make(fresh, Budget(messages=20, size=10_000), [], paces=paces)
        for binding in bindings:
            assigned = assignment.add(TopicPartition(binding.topic, 0), binding, Begin(0, -1))
            assignment.start(assigned, 1)
        assignment.share_rates(bindings, Routes(bindings, "g"), {"a": 1, "b": 1})
        assignment.remove([TopicPartition("a", 0)])
        assignment.share_rates(bindings, Routes(bindings, "g"), {"a": 1, "b": 1})
        pace = paces.of(bindings[0].first)

        assert pace is not None
        assert pace.here == 6

    def test_a_pattern_counts_all_topics_that_it_matches_and_serves(self, fresh: elsa.App, clock: FakeClock) -> None:
        self.declare(fresh, "^a")
        fresh.handler("ab", name="other")(lambda: None)

        assert self.rate(fresh, {"a1": 1}, {"a1": 1, "a2": 2, "ab": 50, "b": 50}, clock) == 4

    def test_of_a_standalone_handlers_topic_only_those_count_that_it_wants(
        self, fresh: elsa.App, clock: FakeClock
    ) -> None:
        self.declare(fresh, "a", group=None, partitions=[0, 9])

        assert self.rate(fresh, {"a": 1}, {"a": 6}, clock) == 12
