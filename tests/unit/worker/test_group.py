"""The group manager's turn, with a consumer that does what each test says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError as Code

import elsa
from elsa import exits
from elsa.clock import SYSTEM
from elsa.errors import FatalClientError
from elsa.kafka import codes
from elsa.kafka.codes import Class
from elsa.message import TopicPartition
from elsa.worker.budget import Budget
from elsa.worker.group import GroupManager
from elsa.worker.mailbox import Finished
from elsa.worker.pace import Paces
from elsa.worker.starts import Begin
from elsa.worker.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)


class Event:
    """Something polled that is no message."""

    def __init__(self, code: int, partition: TopicPartition | None, offset: int = -1) -> None:
        self._code = code
        self._partition = partition
        self._offset = offset

    def error(self) -> Code:
        return Code(self._code, "said")

    def topic(self) -> str | None:
        return None if self._partition is None else self._partition.topic

    def partition(self) -> int:
        return 0 if self._partition is None else self._partition.partition

    def offset(self) -> int:
        return self._offset


class Consumer:
    """Each poll does and returns what comes next in `script`; commits succeed."""

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.calls: list[Any] = []
        self.assignment: set[TopicPartition] = set()
        self.low_high = (0, 0)
        self.most = 0

    def poll(self, _: float, most: int) -> list[Any]:
        self.most = most
        found = self.script.pop(0) if self.script else []
        return found() or [] if callable(found) else found

    def assign(self, offsets: dict[TopicPartition, int]) -> None:
        self.assignment |= set(offsets)

    def unassign(self, partitions: list[TopicPartition]) -> bool:
        self.assignment -= set(partitions)
        return bool(self.assignment)

    def assigned(self) -> list[TopicPartition]:
        return list(self.assignment)

    def reassign(self, partition: TopicPartition, offset: int) -> None:
        self.calls.append(("reassign", partition, offset))

    def watermarks(self, *_: Any) -> tuple[int, int]:
        return self.low_high

    def commit(self, commits: dict[TopicPartition, Any]) -> None:
        self.calls.append(("commit", {partition: commit.offset for partition, commit in commits.items()}))

    def commit_now(self, commits: dict[TopicPartition, Any]) -> tuple[None, bool]:
        self.calls.append(("commit_now", {partition: commit.offset for partition, commit in commits.items()}))
        return None, False

    def generation(self) -> int:
        return 1

    def __getattr__(self, name: str) -> Any:
        return lambda *facts: self.calls.append((name, *facts))


class Executors:
    """Takes every lane and runs none."""

    def of(self, _: Any) -> Executors:
        return self

    def submit(self, worker: Any) -> None:
        """Nothing ever runs here."""


@pytest.fixture
def failures() -> list[tuple[str, int]]:
    """What the manager has given the whole process up for."""
    return []


@pytest.fixture
def manager(failures: list[tuple[str, int]]) -> Iterator[Any]:
    app = elsa.App("unit-group", commit_interval=0.05)

    @app.handler("t")
    def handle(body: bytes) -> None:
        """Never called."""

    around = Surroundings(
        app=app,
        executors=Executors(),  # type: ignore[arg-type]  # a stand-in
        settlement=None,  # type: ignore[arg-type]  # nothing is settled here
        budget=Budget(messages=1000, size=10**6),
        clock=SYSTEM,
        fail=lambda text, code: failures.append((text, code)),
        paces=Paces(SYSTEM),
    )
    made = GroupManager("g", app.registry.bindings(), around)
    made.consumer = Consumer()  # type: ignore[assignment]  # a stand-in
    yield made
    app.stop()


def test_what_is_in_hand_survives_that_the_log_lost_what_comes_next(manager: Any, raw: Any) -> None:
    manager.handover.take({ZERO: Begin(0, 0)})
    assigned = manager.assignment.owned[ZERO]
    worker = assigned.worker
    manager.consumer.low_high = (50, 60)
    manager.consumer.script = [[raw(0), raw(1)], [Event(Code._AUTO_OFFSET_RESET, ZERO, 2)], [raw(50)]]
    for _ in range(3):
        manager.turn()

    assert ("reassign", ZERO, 50) in manager.consumer.calls
    assert assigned.worker is worker
    assert assigned.tracker.unfinished == 3
    manager.assignment.finished(assigned, [0, 1])
    assert assigned.tracker.base == 50


def test_a_log_that_is_shorter_than_what_is_in_hand_begins_anew(manager: Any, raw: Any) -> None:
    manager.handover.take({ZERO: Begin(8, 8)})
    assigned = manager.assignment.owned[ZERO]
    worker = assigned.worker
    manager.consumer.low_high = (0, 3)
    manager.consumer.script = [[raw(8), raw(9)], [Event(Code._AUTO_OFFSET_RESET, ZERO, 10)]]
    for _ in range(2):
        manager.turn()

    assert assigned.worker is not worker
    assert (assigned.tracker.base, assigned.in_hand) == (0, 0)


def test_a_leave_ends_when_every_partition_is_given_up(manager: Any) -> None:
    manager.handover.take({ZERO: Begin(0, 0), ONE: Begin(0, 0)})
    begin = SYSTEM.monotonic()

    def later() -> None:
        if SYSTEM.monotonic() < begin + 0.3:
            manager.consumer.script.append(later)
        else:
            manager.handover.revoked([ONE])

    # a rebalance under way takes one partition, the leave itself the other
    manager.consumer.script = [lambda: manager.handover.revoked([ZERO]), later]
    manager.membership.subscribed = ["t"]
    manager.membership.leave(for_good=True)

    assert manager.consumer.assigned() == []
    assert manager.assignment.owned == {}


def test_messages_that_come_during_a_leave_leave_no_gap(manager: Any, raw: Any) -> None:
    manager.handover.take({ZERO: Begin(0, 0)})
    assigned = manager.assignment.owned[ZERO]
    manager.consumer.script = [[raw(0)], lambda: setattr(manager.membership, "_has_left", True)]
    manager.membership.subscribed = ["t"]
    manager.membership._leave()

    assert (assigned.tracker.base, assigned.tracker.last) == (0, 0)


def test_the_other_partitions_are_committed_while_a_revoke_drains(manager: Any, raw: Any) -> None:
    """Inside a callback no answer of a commit can come: one that was under way must not end all others."""
    manager.handover.take({ZERO: Begin(0, 0), ONE: Begin(0, 0)})
    manager.consumer.script = [[raw(0), raw(0, partition=1), raw(1, partition=1)]]
    manager.turn()
    one = manager.assignment.owned[ONE]
    manager.mailbox.put(Finished(one.worker, [0]))
    manager.turn()
    assert ("commit", {ONE: 1}) in manager.consumer.calls
    # a call that does not return meanwhile
    assert manager.assignment.owned[ZERO].worker.begin(manager._around.executors) is not None
    manager.mailbox.put(Finished(one.worker, [1]))
    manager.handover.release([ZERO], deadline=SYSTEM.monotonic() + 0.3, commit=True)

    assert ("commit_now", {ONE: 2}) in manager.consumer.calls
    assert one.committed == 2


def test_partitions_at_rest_are_not_looked_after(manager: Any, raw: Any) -> None:
    """With a thousand partitions, looking at each of them ten times a second took 2.5 % of a core."""
    manager.handover.take({ZERO: Begin(0, 0), ONE: Begin(0, 0)})
    manager.consumer.script = [[raw(0)]]
    manager.turn()
    assert list(manager.assignment.busy) == [ZERO]

    assigned = manager.assignment.owned[ZERO]
    manager.mailbox.put(Finished(assigned.worker, [0]))
    manager.turn()
    manager._chores(SYSTEM.monotonic())
    # it is done, and the broker has not said yet that it knows
    assert list(manager.assignment.busy) == [ZERO]

    manager.commits.answered(None, False, [ZERO])
    manager._chores(SYSTEM.monotonic())
    assert manager.assignment.busy == {}


def test_a_paused_partition_is_looked_after_until_it_goes_on(manager: Any, raw: Any) -> None:
    manager.handover.take({ZERO: Begin(0, 0)})
    assigned = manager.assignment.owned[ZERO]
    manager.consumer.script = [[raw(0)]]
    manager.turn()
    manager.mailbox.put(Finished(assigned.worker, [0]))
    manager.turn()
    manager.commits.answered(None, False, [ZERO])
    assigned.paused_at = SYSTEM.monotonic()
    manager.assignment.let_rest()
    assert list(manager.assignment.busy) == [ZERO]

    manager._chores(SYSTEM.monotonic())
    # at the offset that comes next: a seek there is what makes librdkafka fetch at once
    assert ("resume_at", {ZERO: 1}) in manager.consumer.calls
    assert manager.assignment.busy == {}


def test_partitions_that_went_are_not_looked_after(manager: Any, raw: Any) -> None:
    manager.handover.take({ZERO: Begin(0, 0)})
    manager.consumer.script = [[raw(0)]]
    manager.turn()
    manager.handover.lost([ZERO])

    assert manager.assignment.busy == {}


def test_little_is_taken_of_each_partition_while_much_waits(manager: Any) -> None:
    manager.turn()
    usual = manager.consumer.most
    manager._around.budget.share(1_000)
    manager._around.budget.buffer(100_000, 0)
    manager.turn()

    assert manager.consumer.most < usual


def of(kind: Class) -> list[int]:
    special = codes.numbers(codes.OUT_OF_RANGE, codes.UNKNOWN_TOPIC, "_UNKNOWN_PARTITION _PARTITION_EOF")
    return sorted(code for code, found in codes.TABLE.items() if found.name is kind and code not in special)


def meet(manager: Any, code: int, partition: TopicPartition | None) -> list[str]:
    """Let this error be polled; the codes that were reported."""
    reported: list[str] = []
    manager.observer.error = lambda name, _: reported.append(name)
    manager.consumer.script = [[Event(code, partition)]]
    manager.turn()
    return reported


@pytest.mark.parametrize("code", of(Class.RETRY), ids=lambda code: Code(code).name())
def test_after_what_may_pass_the_manager_goes_on(manager: Any, failures: list[Any], raw: Any, code: int) -> None:
    manager.handover.take({ZERO: Begin(0, 0)})

    assert meet(manager, code, None) == [Code(code).name()]
    manager.consumer.script = [[raw(0)]]
    manager.turn()
    assert manager.assignment.owned[ZERO].tracker.unfinished == 1
    assert not failures


@pytest.mark.parametrize("code", of(Class.REBUILD), ids=lambda code: Code(code).name())
def test_a_broken_client_is_given_up_for_a_new_one(manager: Any, failures: list[Any], code: int) -> None:
    with pytest.raises(FatalClientError):
        meet(manager, code, None)

    assert not failures


@pytest.mark.parametrize("code", of(Class.FATAL), ids=lambda code: Code(code).name())
def test_a_group_that_refuses_its_member_ends_the_process(manager: Any, failures: list[Any], code: int) -> None:
    name = Code(code).name()

    assert meet(manager, code, None) == [name]
    [(text, exit_code)] = failures
    assert text.startswith("group g cannot be joined: ")
    assert "said" in text
    assert exit_code != exits.OK


def test_a_member_that_works_already_waits_for_what_it_lost(manager: Any, failures: list[Any]) -> None:
    manager.trouble.has_begun = True

    assert meet(manager, Code.GROUP_AUTHORIZATION_FAILED, None) == ["GROUP_AUTHORIZATION_FAILED"]
    assert not failures


def test_a_topic_that_is_refused_does_not_keep_the_others(manager: Any, failures: list[Any]) -> None:
    assert meet(manager, Code.TOPIC_AUTHORIZATION_FAILED, ONE) == ["TOPIC_AUTHORIZATION_FAILED"]
    assert not failures


@pytest.mark.parametrize("code", of(Class.IGNORE), ids=lambda code: Code(code).name())
def test_what_is_no_failure_is_not_spoken_of(manager: Any, failures: list[Any], code: int) -> None:
    assert meet(manager, code, None) == []
    assert not failures


@pytest.mark.parametrize("how", ["revoked", "lost"])
def test_within_a_callback_the_client_is_asked_nothing_once_the_partitions_are_given_up(manager: Any, how: str) -> None:
    """Inside a close librdkafka 2.16 never answers then, and holds the interpreter's lock: the process is frozen."""
    manager.handover.take({ZERO: Begin(0, 0)})
    consumer = manager.consumer

    class Ended:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} would never return")

    def unassign(partitions: list[TopicPartition]) -> bool:
        manager.consumer = Ended()
        return False

    consumer.unassign = unassign
    getattr(manager.handover, how)([ZERO])

    assert isinstance(manager.consumer, Ended)
    assert manager.membership._has_left
