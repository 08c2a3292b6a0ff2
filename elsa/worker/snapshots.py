"""What can be seen of an assigned partition from outside: for metrics, `/statusz` and reports.

Asked by mail and made on the group manager's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.observer import PartitionSnapshot
from elsa.worker.backpressure import OVERFLOW_MESSAGES

if TYPE_CHECKING:
    from elsa.worker.assigned import Assigned
    from elsa.worker.group import GroupManager


def snapshots(manager: GroupManager) -> list[PartitionSnapshot]:
    """How the partitions are that a group manager owns."""
    watermarks = manager.consumer.cached_watermarks
    return [snapshot(one, manager.group, *watermarks(where)) for where, one in manager.assignment.owned.items()]


def snapshot(assigned: Assigned, group: str | None, low: int, high: int) -> PartitionSnapshot:
    """How a partition is now; `low` and `high` are the ends of its log as the client knows them."""
    worker = assigned.worker
    return PartitionSnapshot(
        group=group,
        topic=assigned.partition.topic,
        partition=assigned.partition.partition,
        handler=assigned.binding.name,
        committed=assigned.committed,
        position=assigned.tracker.base,
        high_watermark=max(high, assigned.told_end),
        low_watermark=low,
        in_progress=assigned.tracker.unfinished,
        buffered=len(assigned.overflow),
        uncommitted=assigned.tracker.finished - assigned.finished_at_commit,
        head_attempts=worker.kept.most_attempts if worker is not None else 0,
        oldest_timestamp=_oldest(assigned),
        paused=_why_paused(assigned),
        end=_visible_end(assigned, high),
        limit=assigned.limit + max(OVERFLOW_MESSAGES, assigned.limit),
        running=len(worker.underway.turns) if worker is not None else 0,
        is_leaving=assigned.is_leaving,
    )


def _oldest(assigned: Assigned) -> float | None:
    """When the message was written that waits first."""
    head = assigned.told_head
    if assigned.in_hand == 0 and head is not None and head[0] == assigned.tracker.base:
        return head[1]
    return assigned.timestamps.oldest


def _why_paused(assigned: Assigned) -> str | None:
    """What keeps messages from being taken, the weightiest reason first."""
    if assigned.held is not None:
        return assigned.held
    if assigned.is_paused:
        return "operator"
    if assigned.paused_at is not None:
        return "backpressure"
    return "retry" if assigned.worker is not None and assigned.worker.parked else None


def _visible_end(assigned: Assigned, high: int) -> int:
    """The offset behind the last message that can be read, as far as it is known."""
    last = assigned.overflow[-1].offset() if assigned.overflow else assigned.tracker.last
    seen = high
    if assigned.end is not None:
        seen = assigned.end
    elif assigned.stable_end > last:
        seen = assigned.stable_end
    return max(seen, assigned.told_end)
