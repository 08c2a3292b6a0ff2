"""One assigned partition as its group manager sees it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from elsa.message import TopicPartition
from elsa.observer import HandlerObserver
from elsa.worker.assigned import Assigned
from elsa.worker.backpressure import OVERFLOW_MESSAGES, wants_pause, wants_resume
from elsa.worker.equipment import Inheritance
from elsa.worker.kept import Kept
from elsa.worker.progress import Progress, decode
from elsa.worker.snapshots import snapshot
from elsa.worker.timestamps import SLACK


class Worker:
    """Takes what it is given."""

    parked = 0
    underway = SimpleNamespace(turns={1, 2})

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.kept = Kept(Inheritance())

    def put(self, raws: Any) -> None:
        self.offsets += [raw.offset() for raw in raws]


@pytest.fixture
def assigned() -> Assigned:
    binding: Any = SimpleNamespace(name="h")
    made = Assigned(TopicPartition("t", 0), binding, HandlerObserver(), base=0, limit=4)
    made.worker = Worker()  # type: ignore[assignment]  # a stand-in
    return made


def receive(assigned: Assigned, raw: Any, *offsets: int) -> None:
    raws = [raw(offset, b"1234567890") for offset in offsets]
    assigned.receive(raws, sum(map(len, raws)))


def test_only_as_many_as_the_limit_are_handed_over(assigned: Assigned, raw: Any) -> None:
    receive(assigned, raw, *range(10))

    assert assigned.admit(100, 10**6) == (4, 40)
    assert assigned.admit(100, 10**6) == (0, 0)
    assert assigned.worker.offsets == [0, 1, 2, 3]  # type: ignore[union-attr]  # a stand-in
    assert assigned.in_hand == 10


def test_finished_messages_make_room_and_give_their_bytes_back(assigned: Assigned, raw: Any) -> None:
    receive(assigned, raw, *range(10))
    assigned.admit(100, 10**6)

    count, size = assigned.finish([0, 1])
    assert (count, size) == (2, 20)
    assert assigned.admit(100, 10**6) == (2, 20)
    assert assigned.tracker.base == 2


def test_nothing_is_admitted_over_the_byte_limit_or_while_held(assigned: Assigned, raw: Any) -> None:
    receive(assigned, raw, *range(4))
    assigned.held = "restarting"
    assert assigned.admit(100, 10**6)[0] == 0
    assigned.held = None
    assigned.admit(1, 10**6)

    assert assigned.admit(100, 5)[0] == 0
    assert assigned.admit(100, 50)[0] == 3


def test_pausing_follows_counters_and_lasts_a_while(assigned: Assigned, raw: Any) -> None:
    receive(assigned, raw, *range(OVERFLOW_MESSAGES + 1))
    assert wants_pause(assigned)
    assigned.paused_at = 10.0
    assert not wants_resume(assigned, 20.0)
    assigned.admit(100, 10**6)
    assigned.overflow.clear()
    assigned.finish([0, 1, 2, 3])
    receive(assigned, raw, *range(6000, 6003))
    assigned.limit = 16

    assert not wants_resume(assigned, 10.5)
    assert wants_resume(assigned, 11.0)


def test_a_pause_ends_before_fast_handlers_stand_still(assigned: Assigned, raw: Any) -> None:
    assigned.limit = 1000
    receive(assigned, raw, *range(1000))
    assigned.admit(1000, 10**6)
    assigned.paused_at = 10.0
    assigned.finish(range(500))

    assert not wants_resume(assigned, 10.5)
    assigned.finish(range(500, 900))
    assert wants_resume(assigned, 10.5)


def test_the_logs_end_counts_when_nothing_is_in_hand(assigned: Assigned, raw: Any) -> None:
    receive(assigned, raw, 0, 1)
    assigned.end = 5
    assert not assigned.reach_end()
    assigned.end = None
    assigned.admit(10, 10**6)
    assigned.end = 5
    assert not assigned.reach_end()
    assigned.finish([0, 1])

    assert assigned.reach_end()
    assert assigned.tracker.base == 5


def test_a_restart_forgets_what_is_in_hand_and_keeps_the_base(assigned: Assigned, raw: Any) -> None:
    receive(assigned, raw, *range(6))
    assigned.admit(100, 10**6)
    assigned.finish([0])

    assert assigned.restart() == pytest.approx(30)
    assert (assigned.tracker.base, assigned.in_hand, assigned.bytes) == (1, 0, 0)


def test_a_restart_does_not_run_again_what_was_finished_above_the_base(assigned: Assigned, raw: Any) -> None:
    assigned.limit = 10
    receive(assigned, raw, *range(6))
    assigned.admit(100, 10**6)
    assigned.finish([0, 2, 5])
    assigned.restart()
    worker = assigned.worker = Worker()  # type: ignore[assignment]  # a stand-in
    receive(assigned, raw, *range(1, 9))
    count, _ = assigned.admit(100, 10**6)

    assert worker.offsets == [1, 3, 4, 6, 7, 8]
    assert (count, assigned.tracker.base, assigned.tracker.unfinished) == (6, 1, 6)


def test_attempts_go_on_into_commits_while_there_is_no_worker(assigned: Assigned, raw: Any) -> None:
    """Between two workers, and for good when the partition is halted: a kill then must not let them count anew."""
    assigned.worker.kept.attempts = {1: 3}  # type: ignore[union-attr]  # a stand-in
    receive(assigned, raw, *range(3))
    assigned.admit(100, 10**6)
    assigned.finish([0])
    assigned.restart()
    assigned.worker = None
    commit = assigned.commit()

    assert commit is not None
    read = decode(commit.metadata, 1)
    assert read is not None
    assert read.attempts == {1: 3}


def test_crashes_are_counted_for_each_offset_until_it_is_done(assigned: Assigned, raw: Any) -> None:
    receive(assigned, raw, *range(4))
    assigned.admit(100, 10**6)

    def crash(offset: int | None) -> tuple[int, int]:
        at, backoff = assigned.crash(offset)
        backoff.next()
        return at, backoff.failures

    assert [crash(2), crash(3), crash(2), crash(None), crash(2)] == [(2, 1), (3, 1), (2, 2), (0, 1), (2, 3)]
    assigned.finish([0, 1, 2])
    assert [crash(3), crash(None)] == [(3, 2), (3, 3)]


def test_what_a_former_owner_has_finished_goes_on_into_the_next_commit(assigned: Assigned, raw: Any) -> None:
    """Also of messages that this one has not even seen yet."""
    assigned.restored = Progress(0, 9, frozenset({0, 1, 4, 8}))
    assigned.limit = 2
    receive(assigned, raw, *range(10))
    assigned.admit(1, 10**6)
    assigned.finish([0])
    commit = assigned.commit()

    assert commit is not None
    assert commit.offset == 1
    read = decode(commit.metadata, 1)
    assert read is not None
    assert [n for n in range(1, 12) if read.is_done(n)] == [2, 3, 5, 6, 7, 9]
    while assigned.overflow:
        assigned.admit(1, 10**6)
        assigned.finish([assigned.tracker.base])
    assert assigned.worker.offsets == [0, 1, 4, 8]  # type: ignore[union-attr]  # a stand-in
    assert assigned.tracker.base == 10
    assert assigned.restored is None


def test_what_a_former_owner_has_finished_up_to_its_highest_goes_into_the_offset(assigned: Assigned, raw: Any) -> None:
    """The last unfinished one is done, and those above it are still waiting to be skipped: a stop must not forget."""
    assigned.restored = Progress(0, 90, frozenset({0}))
    assigned.limit = 1
    receive(assigned, raw, *range(95))
    assigned.admit(1, 10**6)
    assigned.finish([0])
    commit = assigned.commit()

    assert commit is not None
    assert (commit.offset, commit.metadata) == (91, "")
    assigned.confirm(commit)
    assert assigned.committed == 91
    assigned.admit(1, 10**6)
    assert assigned.commit() is None
    while assigned.tracker.last < 91:
        assigned.admit(1, 10**6)
    assert assigned.worker.offsets == [0, 91]  # type: ignore[union-attr]  # a stand-in


def test_ages_of_what_went_by_behind_a_slow_head_are_forgotten(assigned: Assigned, raw: Any) -> None:
    assigned.limit = 1_000
    for offset in range(2_000):
        assigned.receive([raw(offset, timestamp=offset * 1000)], 1)
        assigned.admit(1, 10**6)
        if offset:
            assigned.finish([offset])

    assert len(assigned.timestamps) <= 2 * SLACK
    assert snapshot(assigned, "g", 0, 2_000).oldest_timestamp == 0.0
    assigned.finish([0])
    assert snapshot(assigned, "g", 0, 2_000).oldest_timestamp is None


def test_nothing_is_admitted_that_a_commits_metadata_could_not_tell(assigned: Assigned, raw: Any) -> None:
    assigned.limit = 10_000
    assigned.tracker.deliver([0])
    receive(assigned, raw, *range(1_000_000, 1_004_000))
    admitted, _ = assigned.admit(10_000, 10**9)

    assert 1_000 < admitted < 2_000
    assert assigned.admit(10_000, 10**9) == (0, 0.0)
    assigned.finish([0])
    assert assigned.admit(10_000, 10**9)[0] == 4_000 - admitted


def test_waiting_retries_do_not_count_against_the_limit(assigned: Assigned, raw: Any) -> None:
    receive(assigned, raw, *range(10))
    assigned.admit(100, 10**6)
    assert assigned.admit(100, 10**6)[0] == 0
    assigned.parked = 3

    assert assigned.admit(100, 10**6)[0] == 3


def test_the_snapshot_tells_the_oldest_unfinished_messages_time(assigned: Assigned, raw: Any) -> None:
    assigned.receive([raw(0, timestamp=5000), raw(1, timestamp=6000)], 4)
    assigned.admit(10, 10**6)
    assigned.receive([raw(2, timestamp=9000)], 2)
    assigned.finish([0, 1])
    shown = snapshot(assigned, "g", 0, 3)

    assert shown.oldest_timestamp == 9.0
    assert (shown.position, shown.high_watermark, shown.in_progress, shown.buffered) == (2, 3, 0, 1)
    assert (shown.paused, shown.uncommitted) == (None, 2)


def test_the_age_is_that_of_the_head_also_inside_of_one_slice(assigned: Assigned, raw: Any) -> None:
    now = time.time()
    assigned.receive([raw(offset, timestamp=int(1000 * (now - 100 + 10 * offset))) for offset in range(4)], 4)
    assigned.admit(10, 10**6)
    assigned.finish([0, 1])

    assert snapshot(assigned, "g", 0, 4).oldest_timestamp == pytest.approx(now - 80, abs=0.01)


@pytest.mark.parametrize(
    ("stable", "told", "expected"),
    [(-1, -1, 9), (5, -1, 5), (2, -1, 9), (5, 7, 7), (-1, 12, 12)],
    ids=["no transaction", "open transaction", "the transaction has ended", "asked later", "paused"],
)
def test_the_end_is_what_can_be_read(assigned: Assigned, raw: Any, stable: int, told: int, expected: int) -> None:
    receive(assigned, raw, 0, 1, 2)
    assigned.note_stable(stable, 9)
    assigned.told_end = told
    shown = snapshot(assigned, "g", 0, 9)

    assert shown.end == expected
    assert shown.high_watermark == max(9, told)


def test_at_the_end_of_what_can_be_read_that_is_the_end(assigned: Assigned) -> None:
    assigned.end = 4

    assert snapshot(assigned, "g", 0, 9).end == 4


def test_the_snapshot_tells_limits_and_running_calls(assigned: Assigned) -> None:
    shown = snapshot(assigned, "g", 0, 0)

    assert (shown.limit, shown.running) == (4 + OVERFLOW_MESSAGES, 2)


def test_a_paused_partition_says_why(assigned: Assigned) -> None:
    assigned.paused_at = 1.0
    assert snapshot(assigned, "g", 0, 0).paused == "backpressure"
    assigned.held = "halted"

    assert snapshot(assigned, "g", 0, 0).paused == "halted"
