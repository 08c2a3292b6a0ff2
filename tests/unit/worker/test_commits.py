"""Commits of one group: started when they are due, heard of, repeated when refused, waited for where that is needed."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from elsa.errors import KafkaError
from elsa.message import TopicPartition
from elsa.observer import GroupObserver, HandlerObserver
from elsa.testing.clock import FakeClock
from elsa.worker.assigned import Assigned
from elsa.worker.commits import Commits
from elsa.worker.spending import Spending

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from elsa.worker.acknowledger import Commit

ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)


class Observer(GroupObserver):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[TopicPartition, int]]] = []
        self.cut = 0

    def committed(self, outcome: str, seconds: float, offsets: Mapping[Any, int]) -> None:
        self.told.append((outcome, dict(offsets)))

    def metadata_cut(self, partitions: int) -> None:
        self.cut += partitions


class Consumer:
    """Takes commits; those that are waited for end as `refusals` says, one after the other."""

    def __init__(self) -> None:
        self.started: list[dict[TopicPartition, Commit]] = []
        self.waited: list[dict[TopicPartition, Commit]] = []
        self.refusals: list[KafkaError] = []
        self.broken: Exception | None = None

    def commit(self, commits: Mapping[TopicPartition, Commit]) -> None:
        if self.broken is not None:
            raise self.broken
        self.started.append(dict(commits))

    def commit_now(self, commits: Mapping[TopicPartition, Commit]) -> tuple[KafkaError | None, bool]:
        self.waited.append(dict(commits))
        return (self.refusals.pop(0), False) if self.refusals else (None, False)


class Manager:
    """As much of a group manager as its commits see."""

    def __init__(self, group: str | None = "g") -> None:
        self.group = group
        self.name = "g"
        self.clock = FakeClock()
        self.consumer = Consumer()
        self.observer = Observer()
        self.flows: list[bool] = []
        self.assignment = SimpleNamespace(owned={}, busy={}, balance=list, set_flow=self.flows.append)
        self.reports: list[str] = []
        self.trouble = SimpleNamespace(report=self._report)
        self.polls = 0
        #: how commits that were started end, one with each poll
        self.answers: list[KafkaError | None] = []
        self.mailbox = SimpleNamespace(wait=lambda _: [])
        self.spending = Spending()
        self.transactions = SimpleNamespace(is_behind=False, forget=lambda _: None)
        self.commits = Commits(self, interval=1.0, every=10)  # type: ignore[arg-type]  # a stand-in

    def _report(self, code: str, text: str) -> None:
        self.reports.append(f"{code}: {text}")

    def poll(self, _: float) -> list[Any]:
        self.polls += 1
        self.clock.advance(0.1)
        if self.answers and self.commits.in_flight:
            self.commits.answered(self.answers.pop(0), False, list(self.consumer.started[-1]))
        return []

    def read(self, mail: Iterable[Any]) -> None:
        """Nothing comes here."""

    def finish(self, partition: TopicPartition, *offsets: int) -> None:
        """These of twenty messages of a partition are done."""
        assigned = self.assignment.owned.get(partition)
        if assigned is None:
            binding: Any = SimpleNamespace(name="h")
            assigned = Assigned(partition, binding, HandlerObserver(), base=0, limit=100)
            assigned.tracker.deliver(range(20))
            self.assignment.owned[partition] = assigned
        assigned.finish(offsets)
        self.commits.note(assigned, len(offsets))

    def start_due(self) -> None:
        self.commits.start_due(self.clock.monotonic())


@pytest.fixture
def manager() -> Manager:
    return Manager()


def offsets(commits: Mapping[TopicPartition, Commit]) -> dict[TopicPartition, int]:
    return {partition: commit.offset for partition, commit in commits.items()}


def test_one_is_started_when_it_is_due_and_the_next_when_it_is_answered(manager: Manager) -> None:
    manager.start_due()
    assert manager.consumer.started == []
    manager.finish(ZERO, 0, 1)
    manager.start_due()
    manager.finish(ONE, 0)
    manager.clock.advance(5)
    manager.start_due()
    assert [offsets(one) for one in manager.consumer.started] == [{ZERO: 2}]
    assert manager.commits.in_flight

    manager.commits.answered(None, False, [ZERO])
    manager.start_due()
    assert [offsets(one) for one in manager.consumer.started] == [{ZERO: 2}, {ONE: 1}]
    assert manager.observer.told == [("ok", {ZERO: 2})]
    assert manager.assignment.owned[ZERO].committed == 2


def test_a_refused_one_is_told_and_repeated(manager: Manager) -> None:
    manager.finish(ZERO, 0)
    manager.start_due()
    manager.commits.answered(KafkaError("coordinator is away", code="NOT_COORDINATOR"), False, [ZERO])
    assert manager.reports == ["NOT_COORDINATOR: the commit was refused and will be repeated: coordinator is away"]
    assert manager.observer.told == [("error", {ZERO: 1})]
    manager.start_due()
    assert len(manager.consumer.started) == 1

    manager.clock.advance(1)
    manager.start_due()
    assert [offsets(one) for one in manager.consumer.started] == [{ZERO: 1}] * 2


def test_one_that_met_a_rebalance_is_no_trouble(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    manager.finish(ZERO, 0)
    manager.start_due()
    with caplog.at_level(logging.INFO, "elsa.worker"):
        manager.commits.answered(KafkaError("illegal generation"), True, [ZERO])

    assert manager.reports == []
    assert caplog.messages == ["a commit met a rebalance and will be repeated"]


def test_one_that_cannot_even_be_sent_is_repeated(manager: Manager) -> None:
    manager.finish(ZERO, 0)
    manager.consumer.broken = RuntimeError("queue full")
    manager.start_due()
    assert manager.reports == ["RuntimeError: the commit could not be sent: queue full"]
    assert not manager.commits.in_flight

    manager.consumer.broken = None
    manager.clock.advance(1)
    manager.start_due()
    assert [offsets(one) for one in manager.consumer.started] == [{ZERO: 1}]


def test_one_that_is_waited_for_says_why_it_was_refused(manager: Manager) -> None:
    manager.finish(ZERO, 0)
    manager.finish(ONE, 0)
    refusal = KafkaError("no")
    manager.consumer.refusals = [refusal]
    assert manager.commits.make([ZERO]) is refusal
    assert manager.commits.make([ZERO]) is None
    # the broker has it
    assert manager.commits.make([ZERO]) is None

    assert [offsets(one) for one in manager.consumer.waited] == [{ZERO: 1}] * 2
    assert manager.observer.told == [("error", {ZERO: 1}), ("ok", {ZERO: 1})]


def test_the_last_one_is_repeated_until_it_is_taken(manager: Manager) -> None:
    manager.finish(ZERO, 0)
    manager.answers = [KafkaError("rebalance"), KafkaError("rebalance"), None]

    assert manager.commits.make_patiently(manager.clock.monotonic() + 10)
    assert [offsets(one) for one in manager.consumer.started] == [{ZERO: 1}] * 3
    assert manager.assignment.owned[ZERO].committed == 1


def test_the_last_one_is_given_up_when_its_time_is_over(manager: Manager) -> None:
    """A group that waits for its last member answers nobody: one that is waited for would take a minute."""
    manager.finish(ZERO, 0)
    manager.answers = []

    assert not manager.commits.make_patiently(manager.clock.monotonic() + 1)
    assert len(manager.consumer.started) == 1
    assert manager.consumer.waited == []
    assert 10 <= manager.polls <= 12


def test_nothing_is_asked_when_all_is_committed(manager: Manager) -> None:
    assert manager.commits.make_patiently(manager.clock.monotonic())
    assert manager.consumer.started == []
    assert manager.polls == 0


def test_inside_a_callback_what_is_due_does_not_wait_for_an_answer_that_cannot_come(manager: Manager) -> None:
    manager.finish(ZERO, 0)
    manager.start_due()
    manager.finish(ONE, *range(10))
    manager.commits.make_due(manager.clock.monotonic())

    assert [offsets(one) for one in manager.consumer.waited] == [{ONE: 10}]
    assert manager.flows == [True]


def test_while_a_commit_takes_long_nothing_more_may_run(manager: Manager) -> None:
    manager.finish(ZERO, *range(10))
    manager.start_due()
    manager.finish(ZERO, *range(10, 18))
    assert not manager.commits.is_behind(manager.clock.monotonic())
    manager.clock.advance(0.2)
    assert manager.commits.is_behind(manager.clock.monotonic())

    manager.commits.answered(None, False, [ZERO])
    assert not manager.commits.is_behind(manager.clock.monotonic())


def test_metadata_that_had_to_be_cut_is_counted(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    from elsa.worker import progress

    monkeypatch.setattr(progress, "encode", lambda _, __, missing, *___, **____: None if missing else "")
    manager.finish(ZERO, 0, 5)
    manager.start_due()
    assert manager.observer.cut == 1
    assert [(one.offset, one.metadata, one.is_cut) for one in manager.consumer.started[0].values()] == [(1, "", True)]
    manager.finish(ONE, 0, 5)
    manager.commits.make([ONE])

    assert manager.observer.cut == 2


def test_of_partitions_that_went_nothing_is_committed_or_waited_for(manager: Manager) -> None:
    manager.finish(ZERO, *range(10))
    manager.start_due()
    manager.assignment.owned.clear()
    manager.commits.forget([ZERO], lost=True)
    manager.clock.advance(5)
    manager.start_due()

    assert len(manager.consumer.started) == 1
    assert not manager.commits.is_behind(manager.clock.monotonic())


def test_a_standalone_handler_commits_nothing() -> None:
    manager = Manager(None)
    manager.finish(ZERO, 0)
    manager.start_due()
    manager.commits.make_due(manager.clock.monotonic())

    assert manager.commits.make([ZERO]) is None
    assert (manager.consumer.started, manager.consumer.waited) == ([], [])
