"""One assigned partition as its group manager sees it: worker, tracker, overflow; owned by that thread."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from elsa.observer import PartitionSnapshot
from elsa.policies.backoff import Backoff
from elsa.worker.offsets import Tracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elsa.message import TopicPartition
    from elsa.observer import HandlerObserver
    from elsa.registry import Binding
    from elsa.worker.partition import PartitionWorker

#: What may wait here beyond `max_in_flight` before the partition is paused. Larger than what one fetch
#: brings (256 KiB): a pause throws the fetched rest away, so it has to be rare compared with what was used.
OVERFLOW_BYTES = 1024 * 1024
OVERFLOW_MESSAGES = 5_000
#: a pause lasts at least this long, unless what is in hand ends before the fetch would be back
DWELL_SECONDS = 1.0
#: how long it takes until messages come again after a pause, with some to spare
REFILL_SECONDS = 0.2


class Assigned:
    """The state of one assignment; a new assignment of the same partition starts from a new one."""

    __slots__ = (
        "_slices",
        "backoff",
        "began",
        "binding",
        "bytes",
        "committed",
        "crashes_at",
        "end",
        "held",
        "limit",
        "observer",
        "overflow",
        "overflow_bytes",
        "partition",
        "passed_at_pause",
        "paused_at",
        "tracker",
        "worker",
    )

    def __init__(
        self, partition: TopicPartition, binding: Binding, observer: HandlerObserver, *, base: int, limit: int
    ) -> None:
        self.partition = partition
        self.binding = binding
        self.observer = observer
        self.limit = limit
        self.worker: PartitionWorker | None = None
        self.tracker = Tracker(base)
        #: where this assignment began, once that is known
        self.began = base
        #: what the broker has confirmed, -1 when nothing was ever committed
        self.committed = base
        #: received and not handed to the worker yet
        self.overflow: deque[Any] = deque()
        self.overflow_bytes = 0
        #: bytes of what was handed over and is unfinished (kept in proportion, not per message)
        self.bytes = 0.0
        self.paused_at: float | None = None
        self.passed_at_pause = 0
        #: why nothing is taken at all: rejected, restarting, halted, stopping
        self.held: str | None = None
        #: offset of the log's end, when it was reached and nothing came since
        self.end: int | None = None
        self.backoff = Backoff(first=0.2, most=30.0)
        self.crashes_at: int = -1
        #: (last offset, timestamp of the first message) of received slices that are not finished
        self._slices: deque[tuple[int, float | None]] = deque()

    def receive(self, raws: Sequence[Any], size: int) -> None:
        """Messages came from Kafka; they wait here until `admit`."""
        self.end = None
        self.overflow.extend(raws)
        self.overflow_bytes += size
        kind, milliseconds = raws[0].timestamp()
        self._slices.append((raws[-1].offset(), milliseconds / 1000 if kind else None))

    def admit(self, room: int, max_bytes: int) -> tuple[int, float]:
        """Hand up to `room` waiting messages to the worker; (how many, their bytes)."""
        worker = self.worker
        overflow = self.overflow
        count = min(room, self.limit - self.tracker.unfinished, len(overflow))
        if worker is None or self.held is not None or count <= 0 or self.bytes >= max_bytes:
            return 0, 0.0
        if count == len(overflow):
            raws = list(overflow)
            overflow.clear()
            size = self.overflow_bytes
        else:
            raws = [overflow.popleft() for _ in range(count)]
            size = sum(map(len, raws))
        self.overflow_bytes -= size
        self.bytes += size
        self.tracker.deliver([raw.offset() for raw in raws])
        if self.began < 0:
            self.began = raws[0].offset()
        worker.put(raws)
        return count, size

    def finish(self, offsets: Sequence[int], *, acknowledges: bool = True) -> float:
        """Offsets are done; the bytes that they give back."""
        before = self.tracker.unfinished
        self.tracker.finish(offsets, acknowledges=acknowledges)
        return self._shrink(before)

    def hold(self, offsets: Sequence[int]) -> float:
        before = self.tracker.unfinished
        self.tracker.hold(offsets)
        return self._shrink(before)

    def _shrink(self, before: int) -> float:
        after = self.tracker.unfinished
        freed = self.bytes * (before - after) / before if before > 0 else 0.0
        self.bytes -= freed
        base, slices = self.tracker.base, self._slices
        while slices and slices[0][0] < base:
            slices.popleft()
        return freed

    def reach_end(self) -> bool:
        """Whether everything up to the end of the log is finished (the end then counts as the base)."""
        return self.end is not None and not self.overflow and self.tracker.reach_end(self.end)

    def restart(self) -> float:
        """Forget everything in hand: a new worker begins at the base. The bytes that this gives back."""
        freed = self.bytes
        self.tracker = Tracker(self.tracker.base)
        self.overflow.clear()
        self.overflow_bytes = 0
        self.bytes = 0.0
        self.end = None
        self._slices.clear()
        return freed

    @property
    def in_hand(self) -> int:
        return self.tracker.unfinished + len(self.overflow)

    @property
    def has_pending(self) -> bool:
        """Whether anything received is not finished, held offsets included."""
        return bool(self.overflow) or self.tracker.base <= self.tracker.last

    def wants_pause(self) -> bool:
        return len(self.overflow) > max(OVERFLOW_MESSAGES, self.limit) or self.overflow_bytes > OVERFLOW_BYTES

    def wants_resume(self, now: float) -> bool:
        assert self.paused_at is not None
        elapsed = now - self.paused_at
        if elapsed >= DWELL_SECONDS and self.in_hand < max(1, self.limit // 4):
            return True
        # fast handlers would stand still for the rest of the dwell
        finished = self.tracker.passed - self.passed_at_pause
        return self.in_hand * elapsed <= finished * REFILL_SECONDS

    def snapshot(self, group: str | None, low: int, high: int) -> PartitionSnapshot:
        """What can be seen of it from outside."""
        paused = self.held or ("backpressure" if self.paused_at is not None else None)
        worker = self.worker
        if paused is None and worker is not None and worker.parked:
            paused = "retry"
        return PartitionSnapshot(
            group=group,
            topic=self.partition.topic,
            partition=self.partition.partition,
            handler=self.binding.name,
            committed=self.committed,
            position=self.tracker.base,
            high_watermark=high,
            low_watermark=low,
            in_progress=self.tracker.unfinished,
            buffered=len(self.overflow),
            uncommitted=max(0, self.tracker.base - (self.committed if self.committed >= 0 else self.began)),
            head_attempts=worker.head_attempts if worker is not None else 0,
            oldest_timestamp=self._slices[0][1] if self._slices else None,
            paused=paused,
        )
