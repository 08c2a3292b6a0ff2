"""One assigned partition as its group manager sees it: worker, tracker, overflow; owned by that thread."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM
from elsa.observer import PartitionSnapshot
from elsa.policies.backoff import Backoff
from elsa.worker import progress
from elsa.worker.acknowledger import Commit
from elsa.worker.arrivals import Arrivals
from elsa.worker.caution import MOST_DEATHS
from elsa.worker.offsets import Tracker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.message import TopicPartition
    from elsa.observer import HandlerObserver
    from elsa.registry import Binding
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.progress import Progress
    from elsa.worker.seen import Seen
    from elsa.worker.starts import Begin

#: What may wait here beyond `max_in_flight` before the partition is paused. Larger than what one fetch
#: brings (256 KiB): a pause throws the fetched rest away, so it has to be rare compared with what was used.
OVERFLOW_BYTES = 1024 * 1024
OVERFLOW_MESSAGES = 5_000
#: of what runs at most once a crash loses so many messages at most
SLICE_AT_ONCE = 100
#: a pause lasts at least this long, unless what is in hand ends before the fetch would be back
DWELL_SECONDS = 1.0
#: how long it takes until messages come again after a pause, with some to spare
REFILL_SECONDS = 0.2
#: ages that differ by less than this, or by this part of them, count as one: each message's own is not kept
_AGE_SECONDS, _AGE_SHARE = 1.0, 0.01
#: ages of so many received slices are kept beyond those that have something unfinished
_SLACK = 100


class Assigned:
    """The state of one assignment; a new assignment of the same partition starts from a new one."""

    __slots__ = (
        "_crashes",
        "_slices",
        "alone",
        "arrivals",
        "began",
        "binding",
        "bytes",
        "commits_first",
        "committed",
        "deaths",
        "end",
        "failures",
        "finished_at_commit",
        "finished_at_pause",
        "held",
        "is_halted",
        "is_leaving",
        "is_paused",
        "is_rolled_back",
        "is_transactional",
        "limit",
        "observer",
        "overflow",
        "overflow_bytes",
        "parked",
        "partition",
        "paused_at",
        "progress",
        "refusals",
        "refused",
        "restored",
        "rollbacks",
        "seen",
        "source",
        "stable_end",
        "taken",
        "told_end",
        "tracker",
        "version_committed",
        "worker",
    )

    def __init__(
        self,
        partition: TopicPartition,
        binding: Binding,
        observer: HandlerObserver,
        *,
        base: int,
        limit: int,
        source: str | None = None,
        commits_first: bool = False,
        is_transactional: bool = False,
        restored: Progress | None = None,
    ) -> None:
        self.partition = partition
        self.binding = binding
        #: the topic that the messages came from
        self.source = source or partition.topic
        self.observer = observer
        self.limit = limit
        #: its handler runs at most once: a slice is committed before it runs, and the next one taken when it is over
        self.commits_first = commits_first
        #: its offsets are committed by transactions alone
        self.is_transactional = is_transactional
        #: what the tracker has finished was aborted: nothing of it counts before the broker was asked
        self.is_rolled_back = False
        #: why the transaction of these offsets was refused, and how often
        self.refused: dict[int, tuple[BaseException, int]] = {}
        self.refusals: dict[int, int] = {}
        self.alone: set[int] = set()
        #: how long to wait after an aborted one
        self.rollbacks = Backoff(first=0.1, most=10.0)
        #: which messages were handled before, by id, where its handler asks for that
        self.seen: Seen | None = None
        #: what is to be committed before it runs
        self.taken: list[Any] = []
        self.worker: PartitionWorker | None = None
        self.tracker = Tracker(base)
        #: what the commit that this assignment began with says of the messages above it, until they have passed
        self.restored = restored
        #: where this assignment began, once that is known
        self.began = base
        #: what the broker has confirmed, -1 when nothing was ever committed; and what of the tracker it holds
        self.committed = base
        self.version_committed = 0
        self.finished_at_commit = 0
        #: received and not handed to the worker yet
        self.overflow: deque[Any] = deque()
        self.overflow_bytes = 0
        #: bytes of what was handed over and is unfinished (kept in proportion, not per message)
        self.bytes = 0.0
        #: messages that wait for another attempt, as far as the budget knows: they do not count against `limit`
        self.parked = 0
        #: failed attempts, as far as they are committed or about to be
        self.failures = 0
        #: what calls had told when their worker crashed, by offset
        self.progress: dict[int, Any] = {}
        self.paused_at: float | None = None
        self.finished_at_pause = 0
        #: why nothing is taken at all: rejected, restarting, halted, stopping
        self.held: str | None = None
        #: an operator wants nothing to begin here; what has come stays; `held` may say something else besides
        self.is_paused = False
        #: halted until an operator says otherwise, whoever owns it until then: commits say so
        self.is_halted = restored is not None and restored.is_halted
        #: how often a process has died while it handled these offsets
        self.deaths: dict[int, int] = dict(restored.deaths) if restored is not None else {}
        #: offset of the log's end, when it was reached and nothing came since
        self.end: int | None = None
        #: the last stable offset where it was below the log's end at the last statistics, else -1
        self.stable_end = -1
        #: where a broker has last said that the log ends; the client does not know it while it does not fetch
        self.told_end = -1
        #: it is being given up, to somebody who shows what it has from then on
        self.is_leaving = False
        self.arrivals = Arrivals()
        #: at which offsets that are not done the worker has crashed, and how often
        self._crashes: dict[int, Backoff] = {}
        #: (last offset, timestamp of the first message) of what was received and is not finished, in pieces of one age
        self._slices: deque[tuple[int, float | None]] = deque()

    def receive(self, raws: Sequence[Any], size: int) -> None:
        """Messages came from Kafka; they wait here until `admit`."""
        self.end = None
        self.overflow.extend(raws)
        self.overflow_bytes += size
        self._slices += _ages(raws)
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
        self.arrivals.forget(base)
        if len(slices) > after + _SLACK:
            self._forget_ages()
        return freed

    def _forget_ages(self) -> None:
        """Behind a slow head slices go by: only the head's age, and those of what is not finished, will be asked."""
        unfinished = self.tracker.missing(self.tracker.last + 1)
        kept: deque[tuple[int, float | None]] = deque()
        at = 0
        for last, timestamp in self._slices:
            begin = at
            while at < len(unfinished) and unfinished[at] <= last:
                at += 1
            if at > begin or last > self.tracker.last:
                kept.append((last, timestamp))
        self._slices = kept

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
        if self.deaths:
            self.deaths = {one: count for one, count in self.deaths.items() if one >= offset}
        states: dict[str, Any] = {"is_halted": self.is_halted, "deaths": self.deaths}
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
        if self.refusals:
            self.refusals = {offset: count for offset, count in self.refusals.items() if offset >= commit.offset}
        if self.alone:
            self.alone = {offset for offset in self.alone if offset >= commit.offset}

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
        self._slices.clear()
        self.arrivals.clear()
        return freed

    def crash(self, offset: int | None) -> tuple[int, Backoff]:
        """The worker crashed there, or (None) in its `setup`: where that counts, and how long to pause.

        Messages that crash it in turns each have a count of their own, or none of them would ever be halted.
        """
        base = self.tracker.base
        self._crashes = {at: backoff for at, backoff in self._crashes.items() if at >= base}
        at = base if offset is None else offset
        return at, self._crashes.setdefault(at, Backoff(first=0.2, most=30.0))

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

    def refuse(self, offsets: Sequence[int], error: BaseException) -> None:
        """What the call of these has sent is nothing that a broker takes; of several, each runs alone from then on."""
        if len(offsets) > 1:
            self.alone.update(offsets)
            return
        offset = offsets[0]
        if offset not in self.refused:
            times = self.refusals[offset] = self.refusals.get(offset, 0) + 1
            self.refused[offset] = (error, times)

    def died(self, first: int, last: int) -> None:
        """A process has died while it handled these."""
        restored = self.restored
        for offset in range(max(first, self.tracker.base), last + 1):
            if restored is None or not restored.is_done(offset):
                self.deaths[offset] = self.deaths.get(offset, 0) + 1
                self.tracker.version += 1

    def suspects(self, least: int, most: int) -> list[int]:
        """The offsets with so many deaths."""
        return [offset for offset, count in self.deaths.items() if least <= count <= most]

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
        self._crashes.clear()
        # what has halted it as poison runs once more
        self.deaths = {offset: count for offset, count in self.deaths.items() if count < MOST_DEATHS}

    def rebase(self, base: int) -> None:
        """The log goes on elsewhere: nothing that was known of what lies above counts any more."""
        self.restored = None
        self.progress = {}
        self.stable_end = self.told_end = -1
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

    def wants_pause(self, *, is_flooded: bool = False) -> bool:
        if self.is_paused or (is_flooded and self.overflow):
            return True
        return len(self.overflow) > max(OVERFLOW_MESSAGES, self.limit) or self.overflow_bytes > OVERFLOW_BYTES

    def wants_resume(self, now: float, *, is_flooded: bool = False) -> bool:
        assert self.paused_at is not None
        if self.is_paused or (is_flooded and self.overflow):
            return False
        elapsed = now - self.paused_at
        in_hand = self.in_hand - self.parked
        if elapsed >= DWELL_SECONDS and in_hand < max(1, self.limit // 4):
            return True
        # fast handlers would stand still for the rest of the dwell
        finished = self.tracker.finished - self.finished_at_pause
        return in_hand * elapsed <= finished * REFILL_SECONDS

    def note_stable(self, stable: int, high: int) -> None:
        """What the client's statistics say: the last stable offset and the log's end."""
        self.stable_end = stable if 0 <= stable < high else -1

    def _visible_end(self, high: int) -> int:
        """The offset behind the last message that can be read, as far as it is known."""
        last = self.overflow[-1].offset() if self.overflow else self.tracker.last
        seen = high
        if self.end is not None:
            seen = self.end
        elif self.stable_end > last:
            seen = self.stable_end
        return max(seen, self.told_end)

    def snapshot(self, group: str | None, low: int, high: int) -> PartitionSnapshot:
        """What can be seen of it from outside."""
        paused = self.held or ("operator" if self.is_paused else None)
        if paused is None and self.paused_at is not None:
            paused = "backpressure"
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
            high_watermark=max(high, self.told_end),
            low_watermark=low,
            in_progress=self.tracker.unfinished,
            buffered=len(self.overflow),
            uncommitted=self.tracker.finished - self.finished_at_commit,
            head_attempts=worker.head_attempts if worker is not None else 0,
            oldest_timestamp=self._slices[0][1] if self._slices else None,
            paused=paused,
            end=self._visible_end(high),
            limit=self.limit + max(OVERFLOW_MESSAGES, self.limit),
            running=worker.calls if worker is not None else 0,
            is_leaving=self.is_leaving,
        )


def _ages(raws: Sequence[Any]) -> list[tuple[int, float | None]]:
    """(last offset, timestamp of the first message) of a slice, in as many pieces as there are ages in it."""
    (kind, first), (_, last) = raws[0].timestamp(), raws[-1].timestamp()
    if not kind:
        return [(raws[-1].offset(), None)]
    grain = 1000 * max(_AGE_SECONDS, _AGE_SHARE * (SYSTEM.now() - first / 1000))
    if abs(last - first) < grain:
        return [(raws[-1].offset(), first / 1000)]
    pieces: list[tuple[int, float | None]] = []
    before = raws[0].offset()
    for raw in raws:
        moment = raw.timestamp()[1]
        if abs(moment - first) >= grain:
            pieces.append((before, first / 1000))
            first = moment
        before = raw.offset()
    pieces.append((before, first / 1000))
    return pieces
