"""One assigned partition as its group manager sees it: worker, tracker, overflow; owned by that thread."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import TYPE_CHECKING, Any

from elsa.policies.backoff import Backoff
from elsa.worker import progress
from elsa.worker.acknowledger import Commit
from elsa.worker.arrivals import Arrivals
from elsa.worker.caution import MOST_DEATHS
from elsa.worker.equipment import Inheritance
from elsa.worker.mishaps import Mishaps
from elsa.worker.offsets import Tracker
from elsa.worker.timestamps import Timestamps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.message import TopicPartition
    from elsa.observer import HandlerObserver
    from elsa.registry import Binding
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.progress import Progress
    from elsa.worker.seen import Seen
    from elsa.worker.starts import Begin

#: of what runs at most once a crash loses so many messages at most
SLICE_AT_ONCE = 100


@dataclass(eq=False, slots=True)
class Assigned:
    """The state of one assignment; a new assignment of the same partition starts from a new one.

    It begins at the offset `base`, -1 when nothing was ever committed.
    """

    partition: TopicPartition
    binding: Binding
    observer: HandlerObserver
    #: of each task by name, where tasks share the topic
    task_observers: Mapping[str, HandlerObserver] = field(default_factory=dict)
    _: KW_ONLY
    base: InitVar[int]
    #: how many unfinished messages the worker may have
    limit: int
    #: the topic that the messages came from
    source: str = ""
    #: its handler runs at most once: a slice is committed before it runs, and the next one taken when it is over
    commits_first: bool = False
    #: its offsets are committed by transactions alone
    is_transactional: bool = False
    #: what the commit that this assignment began with says of the messages above it, until they have passed
    restored: Progress | None = None

    # -- what came, and how far it is

    #: received and not handed to the worker yet
    overflow: deque[Any] = field(init=False, default_factory=deque)
    overflow_bytes: int = field(init=False, default=0)
    arrivals: Arrivals = field(init=False, default_factory=Arrivals)
    timestamps: Timestamps = field(init=False, default_factory=Timestamps)
    #: what is to be committed before it runs
    taken: list[Any] = field(init=False, default_factory=list)
    worker: PartitionWorker | None = field(init=False, default=None)
    tracker: Tracker = field(init=False)
    #: bytes of what was handed over and is unfinished (kept in proportion, not per message)
    bytes: float = field(init=False, default=0.0)
    #: messages that wait for another attempt, as far as the budget knows: they do not count against `limit`
    parked: int = field(init=False, default=0)
    #: failed attempts, as far as they are committed or about to be
    failures: int = field(init=False, default=0)
    #: what calls had told when their worker crashed, by offset
    progress: dict[int, Any] = field(init=False, default_factory=dict)
    mishaps: Mishaps = field(init=False)
    #: which messages were handled before, by id, where its handler asks for that
    seen: Seen | None = field(init=False, default=None)

    # -- what the broker knows of it

    #: where this assignment began, once that is known
    began: int = field(init=False)
    #: what the broker has confirmed, -1 when nothing was ever committed; and what of the tracker it holds
    committed: int = field(init=False)
    version_committed: int = field(init=False, default=0)
    finished_at_commit: int = field(init=False, default=0)
    #: what the tracker has finished was aborted: nothing of it counts before the broker was asked
    is_rolled_back: bool = field(init=False, default=False)
    #: how long to wait after an aborted transaction
    rollbacks: Backoff = field(init=False)

    # -- where its log ends

    #: offset of the log's end, when it was reached and nothing came since
    end: int | None = field(init=False, default=None)
    #: the last stable offset where it was below the log's end at the last statistics, else -1
    stable_end: int = field(init=False, default=-1)
    #: where a broker has last said that the log ends; the client does not know it while it does not fetch
    told_end: int = field(init=False, default=-1)
    #: the offset where it goes on, of which nothing was in hand then, and when that message was written
    told_head: tuple[int, float] | None = field(init=False, default=None)

    # -- why nothing is taken, or nothing begins

    #: since when it is paused at the client, whatever for, and what was finished by then
    paused_at: float | None = field(init=False, default=None)
    finished_at_pause: int = field(init=False, default=0)
    #: why nothing is taken at all: rejected, restarting, loading, halted
    held: str | None = field(init=False, default=None)
    #: an operator wants nothing to begin here; what has come stays; `held` may say something else besides
    is_paused: bool = field(init=False, default=False)
    #: halted until an operator says otherwise, whoever owns it until then: commits say so
    is_halted: bool = field(init=False)
    #: it is being given up, to somebody who shows what it has from then on
    is_leaving: bool = field(init=False, default=False)

    def __post_init__(self, base: int) -> None:
        restored = self.restored
        self.source = self.source or self.partition.topic
        self.tracker = Tracker(base)
        self.began = self.committed = base
        self.mishaps = Mishaps(restored.deaths if restored is not None else {})
        self.is_halted = restored is not None and restored.is_halted
        self.rollbacks = Backoff(first=0.1, most=10.0)

    def receive(self, raws: Sequence[Any], size: int) -> None:
        """Messages came from Kafka; they wait here until `admit`."""
        self.end = None
        self.overflow.extend(raws)
        self.overflow_bytes += size
        self.timestamps.came(raws)
        self.arrivals.came(raws[-1].offset(), time.perf_counter())

    def admit(self, room: int, max_bytes: float) -> tuple[int, float]:
        """Hand up to `room` waiting messages to the worker; (how many, their bytes)."""
        worker = self.worker
        overflow = self.overflow
        count = min(room, self.limit - self.in_flight, len(overflow))
        if self.commits_first:
            count = 0 if self.tracker.unfinished else min(count, SLICE_AT_ONCE)
        if worker is None or self.held is not None or self.is_paused or count <= 0 or self.bytes >= max_bytes:
            return 0, 0.0
        # beyond that, the next commit's metadata could not tell any more what is finished above a slow head
        capacity = progress.capacity(overflow[count - 1].offset() - self.tracker.base)
        if capacity is not None:
            count = min(count, capacity - self.tracker.unfinished)
            if count <= 0:
                return 0, 0.0
        if count == len(overflow):
            raws = list(overflow)
            overflow.clear()
            size = self.overflow_bytes
        else:
            raws = [overflow.popleft() for _ in range(count)]
            size = sum(map(len, raws))
        self.overflow_bytes -= size
        self.tracker.deliver([raw.offset() for raw in raws])
        if self.began < 0:
            self.began = raws[0].offset()
        if self.restored is not None:
            raws = self._skip_done(raws, self.restored)
            count, size = len(raws), sum(map(len, raws))
        self.bytes += size
        if self.commits_first:
            self.taken = raws
        elif raws:
            worker.put(raws)
        return count, size

    def commit_ahead(self) -> Commit | None:
        """What to commit before what was taken may run, None when the broker has it."""
        tracker, restored = self.tracker, self.restored
        offset = tracker.last + 1
        if offset <= self.committed:
            return None
        metadata: str | None = ""
        if restored is not None and restored.highest >= offset:
            # a former owner of at least once has finished more than the next
            missing = sorted(one for one in restored.missing if one >= offset)
            offset = missing[0] if missing else restored.highest + 1
            metadata = progress.encode(offset, restored.highest, missing, {})
        return Commit(offset, metadata or "", tracker, tracker.version, tracker.finished)

    def run_taken(self) -> None:
        """It is committed."""
        assert self.worker is not None
        raws, self.taken = self.taken, []
        if raws:
            self.worker.put(raws)

    def _skip_done(self, raws: list[Any], restored: Progress) -> list[Any]:
        """What a former owner has finished is delivered to nobody; the offsets count as finished."""
        done = [offset for raw in raws if restored.is_done(offset := raw.offset())]
        if done:
            self.tracker.finish(done, acknowledges=False)
            raws = [raw for raw in raws if not restored.is_done(raw.offset())]
        if self.tracker.last >= restored.highest:
            self.restored = None
        return raws

    def finish(self, offsets: Sequence[int], *, acknowledges: bool = True) -> tuple[int, float]:
        """Offsets are done; (how many messages are not in hand any more, their bytes)."""
        before = self.tracker.unfinished
        self.tracker.finish(offsets, acknowledges=acknowledges)
        return self._shrink(before)

    def hold(self, offsets: Sequence[int]) -> tuple[int, float]:
        """Offsets are neither done nor in hand; the same."""
        before = self.tracker.unfinished
        self.tracker.hold(offsets)
        return self._shrink(before)

    def _shrink(self, before: int) -> tuple[int, float]:
        tracker = self.tracker
        after = tracker.unfinished
        freed = self.bytes * (before - after) / before if before > 0 else 0.0
        self.bytes -= freed
        self.timestamps.forget(tracker, after)
        self.arrivals.forget(tracker.base)
        return before - after, freed

    def reach_end(self) -> bool:
        """Whether everything up to the end of the log is finished (the end then counts as the base)."""
        return self.end is not None and not self.overflow and self.tracker.reach_end(self.end)

    def commit(self) -> Commit | None:
        """What a commit would say now, None when the broker has all of it."""
        if self.commits_first or self.is_rolled_back:
            return None
        tracker = self.tracker
        is_news = tracker.version != self.version_committed or tracker.base > self.committed
        if not is_news or tracker.base < max(self.committed, 0):
            return None
        highest, missing = self._above()
        # when a former owner has finished everything that is left below, the offset itself says so: metadata could not
        offset = tracker.base if missing else max(tracker.base, highest + 1)
        states: dict[str, Any] = {"is_halted": self.is_halted, "deaths": self.mishaps.deaths_from(offset)}
        metadata = progress.encode(offset, highest, missing, self._attempts(), **states)
        is_cut = metadata is None
        if metadata is None:
            if offset == self.committed and not self.is_halted:
                # the base alone is there already
                return None
            metadata = progress.encode(offset, offset, [], {}, **states)
            assert metadata is not None
        return Commit(offset, metadata, tracker, tracker.version, tracker.finished, is_cut=is_cut)

    def _above(self) -> tuple[int, list[int]]:
        """The highest finished offset, and the unfinished ones below it; also of what a former owner has finished."""
        tracker, restored = self.tracker, self.restored
        if restored is None or restored.highest <= tracker.last:
            return tracker.highest, tracker.missing(tracker.highest)
        ahead = sorted(offset for offset in restored.missing if offset > tracker.last)
        return restored.highest, tracker.missing(tracker.last + 1) + ahead

    def _attempts(self) -> dict[int, int]:
        if self.worker is not None:
            return dict(self.worker.kept.attempts)
        # between two workers, and for good when it is halted
        return dict(self.restored.attempts) if self.restored is not None else {}

    def confirm(self, commit: Commit) -> None:
        """The broker has this commit; one of an earlier tracker (before a restart) says nothing of this one."""
        if commit.tracker is not self.tracker or commit.version < self.version_committed:
            return
        self.committed = max(self.committed, commit.offset)
        self.version_committed = commit.version
        self.finished_at_commit = commit.finished
        self.rollbacks.reset()
        self.mishaps.committed(commit.offset)

    def restart(self) -> float:
        """Forget everything in hand: a new worker begins at the base. The bytes that this gives back."""
        freed = self.bytes
        tracker = self.tracker
        highest, missing = self._above()
        # what was finished above the base is not run again
        self.restored = progress.Progress(tracker.base, highest, frozenset(missing), self._attempts())
        self.progress = dict(self.worker.kept.progress) if self.worker is not None else {}
        # what was committed ahead has run, or is given up
        base = max(tracker.base, self.committed) if self.commits_first else tracker.base
        self.taken = []
        self.tracker = Tracker(base, version=tracker.version)
        self.tracker.finished = tracker.finished
        self.overflow.clear()
        self.overflow_bytes = 0
        self.bytes = 0.0
        self.parked = 0
        self.end = None
        self.timestamps.clear()
        self.arrivals.clear()
        return freed

    def bequeath(self) -> Inheritance:
        """What a new worker of this partition has to know; what was refused to a transaction is told once."""
        restored = self.restored
        self.failures = 0
        return Inheritance(
            attempts=restored.attempts if restored is not None else {},
            progress=self.progress,
            alone=self.mishaps.alone,
            poison=self.mishaps.suspects(MOST_DEATHS, sys.maxsize),
            refused=self.mishaps.take_refused(),
            arrivals=self.arrivals,
            seen=self.seen,
        )

    def crash(self, offset: int | None) -> tuple[int, Backoff]:
        """The worker crashed there, or (None) in its `setup`: where that counts, and how long to pause."""
        base = self.tracker.base
        at = base if offset is None else offset
        return at, self.mishaps.crash(at, base)

    def begin_anew(self, begin: Begin, attempts: Mapping[int, int]) -> None:
        """Transactions may have committed more or less than is known here: go on where the broker says."""
        restored = begin.restored
        base = max(begin.offset, -1)
        known = {**(restored.attempts if restored is not None else {}), **attempts}
        found = restored or progress.Progress(base, base - 1)
        self.restored = progress.Progress(base, found.highest, found.missing, known)
        self.tracker = Tracker(base, version=self.tracker.version + 1)
        self.committed = begin.committed
        self.version_committed = self.tracker.version
        self.finished_at_commit = 0
        self.is_rolled_back = False

    def died(self, first: int, last: int) -> None:
        """A process has died while it handled these."""
        restored, offsets = self.restored, range(max(first, self.tracker.base), last + 1)
        left = [offset for offset in offsets if restored is None or not restored.is_done(offset)]
        self.mishaps.died(left)
        self.tracker.version += len(left)

    def halt(self) -> None:
        """Take nothing more, also after a rebalance or a restart, until `go_on`."""
        self.held = "halted"
        self.is_halted = True
        self.tracker.version += 1

    def go_on(self) -> None:
        """An operator has seen to what halted it."""
        if self.is_halted:
            self.is_halted = False
            self.tracker.version += 1
        self.mishaps.forgive()

    def rebase(self, base: int) -> None:
        """The log goes on elsewhere: nothing that was known of what lies above counts any more."""
        self.restored = None
        self.progress = {}
        self.stable_end = self.told_end = -1
        self.told_head = None
        self.tracker = Tracker(base, version=self.tracker.version + 1)
        # what was committed for the old log must not keep the new one from being committed
        self.committed = min(self.committed, base - 1)
        self.finished_at_commit = 0

    @property
    def in_flight(self) -> int:
        """What counts against `max_in_flight`: waiting retries cost their bytes only."""
        return self.tracker.unfinished - self.parked

    @property
    def in_hand(self) -> int:
        return self.tracker.unfinished + len(self.overflow)

    @property
    def has_pending(self) -> bool:
        """Whether anything received is not finished, held offsets included."""
        return bool(self.overflow) or not self.tracker.is_idle

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing here can change before the next message comes."""
        if self.has_pending or self.paused_at is not None:
            return False
        if self.commits_first:
            return not self.taken and self.tracker.base <= self.committed
        return self.binding.group is None or self.tracker.version == self.version_committed

    def note_stable(self, stable: int, high: int) -> None:
        """What the client's statistics say: the last stable offset and the log's end."""
        self.stable_end = stable if 0 <= stable < high else -1
