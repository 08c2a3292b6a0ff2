"""When a partition is paused because too much of it waits here, and when it goes on: a function of counters, pure.

Asked of the partitions that have something in hand, by the group manager's thread; what an operator pauses is in
`pauses`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elsa.worker.assigned import Assigned

#: What may wait here beyond `max_in_flight` before the partition is paused. Larger than what one fetch
#: brings (256 KiB): a pause throws the fetched rest away, so it has to be rare compared with what was used.
OVERFLOW_BYTES = 1024 * 1024
OVERFLOW_MESSAGES = 5_000
#: a pause lasts at least this long, unless what is in hand ends before the fetch would be back
DWELL_SECONDS = 1.0
#: how long it takes until messages come again after a pause, with some to spare
REFILL_SECONDS = 0.2


def wants_pause(assigned: Assigned, *, is_flooded: bool = False) -> bool:
    """Whether a partition is to receive no more for a while; `is_flooded` when too much waits in the process."""
    if assigned.is_paused or (is_flooded and assigned.overflow):
        return True
    most = max(OVERFLOW_MESSAGES, assigned.limit)
    return len(assigned.overflow) > most or assigned.overflow_bytes > OVERFLOW_BYTES


def wants_resume(assigned: Assigned, now: float, *, is_flooded: bool = False) -> bool:
    """Whether a paused partition is to receive again."""
    assert assigned.paused_at is not None
    if assigned.is_paused or (is_flooded and assigned.overflow):
        return False
    elapsed = now - assigned.paused_at
    in_hand = assigned.in_hand - assigned.parked
    if elapsed >= DWELL_SECONDS and in_hand < max(1, assigned.limit // 4):
        return True
    # fast handlers would stand still for the rest of the dwell
    finished = assigned.tracker.finished - assigned.finished_at_pause
    return in_hand * elapsed <= finished * REFILL_SECONDS
