"""What is shown of an assigned partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.worker.backpressure import OVERFLOW_MESSAGES
from elsa.worker.snapshots import snapshot

from .parts import receive

if TYPE_CHECKING:
    from elsa.worker.assigned import Assigned


def test_the_snapshot_tells_the_oldest_unfinished_messages_time(assigned: Assigned, raw: Any) -> None:
    assigned.receive([raw(0, timestamp=5000), raw(1, timestamp=6000)], 4)
    assigned.admit(10, 10**6)
    assigned.receive([raw(2, timestamp=9000)], 2)
    assigned.finish([0, 1])
    shown = snapshot(assigned, "g", 0, 3)

    assert shown.oldest_timestamp == 9.0
    assert (shown.position, shown.high_watermark, shown.in_progress, shown.buffered) == (2, 3, 0, 1)
    assert (shown.paused, shown.uncommitted) == (None, 2)


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
