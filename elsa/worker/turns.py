"""One go of an executor at a partition worker: which messages it runs, and what is known of them meanwhile.

An executor gets a turn from `PartitionWorker.begin`, the delivery iterates over `messages()`, and the worker takes
the results over in `settle`. A turn belongs to the thread (or task) that runs it; the worker's lock guards what
the lanes give out; `done` is filled by the runner and emptied by whoever holds the lock.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from elsa.worker import traced
from elsa.worker.accounts import Accounts
from elsa.worker.ages import ages
from elsa.worker.arrivals import GRAIN_SECONDS, without_last
from elsa.worker.repeats import is_repeated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from elsa.context import Context
    from elsa.outcome import Outcome
    from elsa.worker.delivery import Invoker
    from elsa.worker.executors import Executor
    from elsa.worker.lanes import KeyedLanes, Lanes, SingleLane
    from elsa.worker.partition import PartitionWorker

#: a turn ends after this many seconds or messages, so that results are known (and committed) early
TURN_SECONDS = 0.02
TURN_MESSAGES = 256

_counter = time.perf_counter


class Turn:
    """Messages to be run by one executor, one at a time."""

    __slots__ = (
        "accounts",
        "ages",
        "cancel",
        "cell",
        "coroutine",
        "counts",
        "current",
        "done",
        "durations",
        "executor",
        "harvested",
        "is_over",
        "observer",
        "on_close",
        "since",
        "suspects",
        "thread",
        "unfine",
        "waits",
        "words",
        "worker",
    )

    def __init__(self, worker: PartitionWorker, executor: Executor) -> None:
        self.worker = worker
        self.executor = executor
        #: what runs now, since when (time.perf_counter), and in which thread
        self.current: Any = None
        self.since = _counter()
        self.thread = 0
        #: interrupts the running call, where that is possible
        self.cancel: Callable[[], None] | None = None
        #: tells the running call, in a child process, that the partition goes
        self.on_close: Callable[[], None] | None = None
        #: of the event loop: what is suspended while the call waits
        self.coroutine: Any = None
        #: offsets that are finished and not reported to the group manager yet
        self.done: deque[int] = deque()
        #: how many of them were reported before the end of the turn
        self.harvested = 0
        #: seconds of each call, and how many came to which outcome other than ok
        self.durations: list[float] = []
        self.counts: dict[str, int] = {}
        #: who hears of what runs now; of tasks that share a topic each has its own
        self.observer = worker.observer
        #: what was put down of tasks whose messages came before the last ones
        self.accounts: Accounts | None = None
        #: (seconds, messages): how long what it runs has waited for it, how old it was when it had succeeded
        self.waits: list[tuple[float, int]] = []
        self.ages: list[tuple[float, int]] = []
        #: offsets of messages that have not succeeded
        self.unfine: set[int] = set()
        #: nothing more is to be run: the worker crashed, or this call was interrupted
        self.is_over = False
        #: where the journal is told what runs (`words[cell + 1] = offset`), 0 without one
        self.cell = 0
        self.words: Any = None
        #: the offset of a message that runs alone in the whole process
        self.suspects: tuple[int, ...] = ()

    @property
    def has_run(self) -> bool:
        """Whether a call has come to an end."""
        return bool(self.durations or self.counts or self.done or self.harvested or self.accounts)

    @property
    def size(self) -> int:
        """How many messages it works on at once."""
        return 1

    def took(self, seconds: float, outcome: Outcome) -> None:
        """A call has ended, and that is what it came to."""
        self.durations.append(seconds)
        if outcome.trace is not None:
            self.observer.sampled(seconds, outcome.trace)

    def invoker(self, raw: Any) -> Invoker | None:
        """Who runs a message of tasks that share a topic; from here on their observer hears of the turn."""
        worker = self.worker
        found = worker.router.invoker(raw)
        observer = worker.observer if found is None else found.observer
        if observer is not self.observer:
            self.put_down()
            self.observer.ended(self.size)
            observer.started(self.size)
            self.observer = observer
        return found

    def pass_over(self, raw: Any, context: Context, outcome: Outcome) -> None:
        """Conclude a message that needs no call: what the handler's rate has allowed for it is for another one."""
        worker = self.worker
        with worker.lock:
            worker.backlog.give_back(self.executor)
        worker.conclude(self, raw, context, traced.unrun(self.observer, context, outcome))

    def put_down(self) -> None:
        """Give what has happened since the last time to the account of who has heard of it so far."""
        accounts = self.accounts
        if accounts is None:
            if not self.has_run:
                return
            accounts = self.accounts = Accounts()
        with self.worker.lock:
            ok = self.harvested + len(self.done)
        accounts.put_down(self.observer, self.durations, self.counts, ok)
        if self.counts:
            self.counts = {}

    def messages(self) -> Iterator[Any]:
        """What to run, one after the other; ends when the worker closes or holds, or the turn has lasted enough."""
        raise NotImplementedError

    def ran(self) -> Sequence[Any]:
        """The messages whose calls have ended, as far as their `ages` are not known yet."""
        return ()

    def note_ages(self) -> None:
        """See how old the messages are that have succeeded; when their calls have ended."""
        if ran := self.ran():
            worker = self.worker
            self.ages += ages(ran, worker.clock.now(), without=self.unfine, is_retry=worker.is_retry)

    def running(self) -> Sequence[Any]:
        """The messages of the call that runs now."""
        current = self.current
        return () if current is None else (current,)

    def stop_lane(self) -> None:
        """The message that was just run goes back to its lane: nothing behind it may run now."""
        raise NotImplementedError

    def give_back(self) -> float | None:
        """What was taken and is not over goes back into the lanes (lock held); when they are to be unparked for it."""
        return None


class LifecycleTurn(Turn):
    """`setup` or `teardown` of a class, run where its messages run."""

    __slots__ = ("step",)

    def __init__(self, worker: PartitionWorker, executor: Executor, step: Callable[[], Any]) -> None:
        super().__init__(worker, executor)
        self.step = step

    def messages(self) -> Iterator[Any]:
        return iter(())


class SliceTurn(Turn):
    """Consecutive messages of a partition that is one lane."""

    __slots__ = ("_back", "_is_stopped", "_lane", "_ran", "_raws")

    def __init__(self, worker: PartitionWorker, executor: Executor, lane: SingleLane, raws: Sequence[Any]) -> None:
        super().__init__(worker, executor)
        self._lane = lane
        self._raws = raws
        self._ran: Sequence[Any] = ()
        self._is_stopped = False
        #: what goes back to the head of the lane: it has failed, or was not run
        self._back: list[Any] = []

    def messages(self) -> Iterator[Any]:
        worker, begin, words, told = self.worker, self.since, self.words, self.cell + 1
        for index, raw in enumerate(self._raws):
            if worker.closed or worker.held or self._is_stopped or self.is_over or self.since - begin > TURN_SECONDS:
                self._back += self._raws[index:]
                self._ran = self._raws[:index]
                self.waits = without_last(self.waits, len(self._raws) - index)
                break
            self.current = raw
            if words is not None:
                words[told] = raw.offset()
            if worker.seen is None or not is_repeated(worker, self, raw):
                yield raw
        else:
            self._ran = self._raws
        self.current = None

    def ran(self) -> Sequence[Any]:
        return self._ran

    def stop_lane(self) -> None:
        self._is_stopped = True
        self._back.append(self.current)

    def give_back(self) -> float | None:
        self._lane.give_back(self._back)
        return None


class LaneTurn(Turn):
    """Whatever is ready, one message at a time, so that nothing waits behind a slow one that it need not wait for."""

    __slots__ = ("_first", "_lanes", "_ran", "_stays")

    def __init__(self, worker: PartitionWorker, executor: Executor, lanes: KeyedLanes, first: Any) -> None:
        super().__init__(worker, executor)
        self._lanes = lanes
        self._first = first
        self._stays = False
        #: what has run since waits and ages were last looked at
        self._ran: list[Any] = []

    def messages(self) -> Iterator[Any]:
        worker, lanes, begin, left = self.worker, self._lanes, self.since, TURN_MESSAGES
        words, told = self.words, self.cell + 1
        ran, note_at = self._ran.append, 0.0
        raw = None if worker.closed else self._first
        while raw is not None:
            self.current = raw
            if words is not None:
                words[told] = raw.offset()
            if self.since > note_at:
                self._note(raw)
                note_at = self.since + GRAIN_SECONDS
            if worker.seen is None or not is_repeated(worker, self, raw):
                yield raw
            ran(raw)
            left -= 1
            # while nobody else waits for this place it need not be given back: results are harvested meanwhile
            is_long = self.since - begin > TURN_SECONDS and self.executor.is_wanted
            is_over = left == 0 or self.is_over or is_long or bool(self.suspects) or worker.vigil.is_on
            with worker.lock:
                self.current = None
                if worker.closed:
                    return
                if not self._stays:
                    lanes.release(raw)
                self._stays = False
                goes_on = not is_over and worker.flows and lanes.is_ready(self.executor)
                goes_on = goes_on and worker.backlog.allow(self.executor, 1) == 1
                raw = lanes.next(self.executor) if goes_on else None

    def _note(self, raw: Any) -> None:
        """Look at the ages of what has run, and at how long this one has waited; so have those that follow soon."""
        self._end_wait()
        wait = None if self.worker.kept.made(raw) else self.worker.arrivals.wait(raw.offset(), self.since)
        if wait is not None:
            self.waits.append((wait, 0))

    def _end_wait(self) -> None:
        if self.waits and not self.waits[-1][1]:
            self.waits[-1] = (self.waits[-1][0], max(1, len(self._ran)))
        super().note_ages()
        self._ran.clear()

    def note_ages(self) -> None:
        self._end_wait()

    def ran(self) -> Sequence[Any]:
        return self._ran

    def stop_lane(self) -> None:
        # it is parked with its key
        self._stays = True


class BatchTurn(Turn):
    """Messages for one call of a batch handler."""

    __slots__ = ("_lanes", "back", "raws")

    def __init__(self, worker: PartitionWorker, executor: Executor, lanes: Lanes, raws: Sequence[Any]) -> None:
        super().__init__(worker, executor)
        self._lanes = lanes
        self.raws = raws
        self.current = raws[0]
        #: members that come again, by offset: at once (None), or not before a time of the monotonic clock
        self.back: dict[int, float | None] = {}

    @property
    def size(self) -> int:
        return len(self.raws)

    def messages(self) -> Iterator[Any]:
        return iter(self.raws)

    def ran(self) -> Sequence[Any]:
        if not self.durations:
            return ()
        return [raw for raw in self.raws if raw.offset() not in self.back] if self.back else self.raws

    def running(self) -> Sequence[Any]:
        return self.raws if self.current is not None else ()

    def give_back(self) -> float | None:
        return self._lanes.end_batch(self.raws, self.back)


class SliceSize:
    """How many messages a turn takes: few of slow handlers (their results are known early), many of fast ones."""

    def __init__(self) -> None:
        self.messages = 16

    def learn(self, durations: Sequence[float]) -> None:
        """Calls took so many seconds each."""
        if durations:
            mean = sum(durations) / len(durations)
            wanted = int(TURN_SECONDS / mean) if mean > 0 else TURN_MESSAGES
            self.messages = max(1, min(TURN_MESSAGES, wanted, self.messages * 4))
