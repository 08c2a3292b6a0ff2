"""One assigned partition as its group manager sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.worker.progress import Progress, decode

from .parts import Taker, receive

if TYPE_CHECKING:
    from elsa.worker.assigned import Assigned


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
    worker = assigned.worker = Taker()  # type: ignore[assignment]  # a stand-in
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
