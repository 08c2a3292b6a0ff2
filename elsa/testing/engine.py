"""The worker's engine without its threads: executors that run when told to, a group manager that is stepped.

Everything that decides is the worker's own code; made and stepped by the harness.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from typing import TYPE_CHECKING, cast

from elsa.errors import ElsaError
from elsa.testing.consumer import MemoryConsumer, MemoryMembership
from elsa.testing.recording import RecordingWorker
from elsa.worker import hooks
from elsa.worker.assignment import Assignment
from elsa.worker.commits import Commits
from elsa.worker.executors import Executor, Executors
from elsa.worker.executors.loop import EventLoop, LoopExecutor, _new_loop
from elsa.worker.executors.ring import Ring
from elsa.worker.executors.threads import InThread, begin, run_turn
from elsa.worker.group import GroupManager
from elsa.worker.mailbox import Loaded, TransactionEnded
from elsa.worker.settlement import Settlement
from elsa.worker.transactions import Batch, Entry, Transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.handlers import Handler
    from elsa.kafka.consumer import GroupConsumer
    from elsa.message import TopicPartition
    from elsa.registry import Binding
    from elsa.testing.log import MemoryLog
    from elsa.testing.recording import Journal
    from elsa.worker.assigned import Assigned
    from elsa.worker.membership import GroupMembership
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.seen import Seen
    from elsa.worker.surroundings import Surroundings

#: how often the private loop turns for tasks that handlers left behind, before they are left alone
_TURNS = 20


class InlineExecutor:
    """Sync handlers, run by `run` in the caller's thread."""

    limit = 1
    is_wanted = False

    def __init__(self) -> None:
        self._ring = Ring()
        self._runner = InThread()

    def submit(self, worker: PartitionWorker) -> None:
        self._ring.push(worker, 0.0)

    def run(self) -> bool:
        """Run a turn of what was submitted; whether there was anything."""
        if not self._ring:
            return False
        worker = self._ring.pop()
        turn = begin(worker, self)
        if turn is not None and run_turn(turn, self._runner):
            self.submit(worker)
        return True

    def stop(self, timeout: float) -> bool:  # noqa: ARG002 - the seam
        return True


class PrivateLoop:
    """An event loop that turns only inside `run`; in a thread of its own when the caller's has a running loop."""

    is_current = True

    def __init__(self) -> None:
        self.loop = _new_loop()

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end."""
        if asyncio._get_running_loop() is None:
            self.loop.run_until_complete(main)
            return
        # an async test: its loop stands still meanwhile, as it would for any other call that is not awaited
        thread = threading.Thread(target=self.loop.run_until_complete, args=(main,), name="elsa-test-loop")
        thread.start()
        thread.join()

    def turn(self) -> None:
        """Let tasks that handlers have started do what they can without waiting."""
        for _ in range(_TURNS):
            if not asyncio.all_tasks(self.loop):
                return
            self.run(asyncio.sleep(0))

    def close(self) -> None:
        """Cancel what is left, and close."""
        if self.loop.is_closed():
            return
        self.run(self._end())
        self.loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()


class InlineExecutors(Executors):
    """One lane after the other in the caller's thread: no concurrency, so the same order in each run."""

    def __init__(self, app: App) -> None:
        super().__init__(app.settings)
        self._inline = InlineExecutor()
        self._private: PrivateLoop | None = None
        self._loops: list[LoopExecutor] = []

    def _make(self, handler: Handler[Any, Any]) -> Executor:
        if not handler.is_async:
            return self._inline
        if self._private is None:
            self._private = PrivateLoop()
        executor = LoopExecutor(cast("EventLoop", self._private), self.concurrency(handler))
        self._loops.append(executor)
        return executor

    def run(self) -> bool:
        """Run all lanes that have something to do; whether any had."""
        found = False
        while self._inline.run() or self._run_loops():
            found = True
        return found

    def _run_loops(self) -> bool:
        found = False
        for executor in self._loops:
            while executor._tasks:
                found = True
                assert self._private is not None
                self._private.run(_ended(executor._tasks))
        if self._private is not None:
            self._private.turn()
        return found

    def wait(self, seconds: float) -> None:
        """Let the loop turn for a while, for tasks that wait for something real."""
        if self._private is not None:
            self._private.run(asyncio.sleep(seconds))
        else:
            threading.Event().wait(seconds)

    def stop(self, timeout: float) -> bool:  # noqa: ARG002 - the seam
        if self._private is not None:
            self._private.close()
        return True


async def _ended(tasks: set[asyncio.Task[None]]) -> None:
    await asyncio.wait(set(tasks))


class SteppedSettlement(Settlement):
    """Its pauses are those of the harness's clock."""

    def __init__(self, app: App, clock: Clock) -> None:
        super().__init__(app)
        self._clock = clock
        self._sequence = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def later(self, seconds: float, run: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self._clock.monotonic() + seconds, next(self._sequence), run))

    @property
    def next_due(self) -> float | None:
        return self._due[0][0] if self._due else None

    def fire(self, now: float) -> bool:
        """Run what is due; whether anything was."""
        found = False
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
            found = True
        return found

    def give_up(self) -> None:
        """Try every waiting copy once more; a closed worker's is given up when that fails."""
        waiting, self._due = self._due, []
        for _, _, run in sorted(waiting):
            run()


class RecordingAssignment(Assignment):
    """Its workers tell the journal."""

    journal: Journal

    def _make_worker(self, *args: Any, **fields: Any) -> PartitionWorker:
        return RecordingWorker(*args, journal=self.journal, **fields)


class MemoryTransactions(Transactions):
    """Makes each at once: what is refused is aborted with all of it."""

    _manager: SteppedManager

    def _begin(self, batch: Batch) -> None:
        self._under_way = batch
        manager = self._manager
        error: BaseException | None = None
        refused: list[tuple[BaseException, Entry]] = []
        for entry in batch.sends:
            send = entry.send
            try:
                manager.app.producer.target(send.topic, send.key, send.partition)
            except ElsaError as broken:
                error = broken
                refused.append((broken, entry))
        # what is refused comes first: nothing else may be there then
        refusals = manager.memory.log.refusals
        for entry in sorted(batch.sends, key=lambda one: one.send.topic not in refusals):
            send = entry.send
            if error is not None and send.topic not in refusals:
                break
            facts: dict[str, Any] = {"key": send.key, "headers": send.headers or (), "partition": send.partition}
            made = manager.app.producer.send(send.topic, send.value, **facts)
            why = made.exception(0)
            if why is not None:
                error = why
                refused.append((why, entry))
            send.delivery.settle(made._outcome)
        if error is None:
            manager.consumer.commit_now({partition: commit for partition, (_, commit) in batch.commits.items()})
        manager.mailbox.put(TransactionEnded(batch, error, refused))


class SteppedManager(GroupManager):
    """A group manager without its thread: `step` does what there is to do, `deliver` hands out the next message."""

    def __init__(
        self, group: str | None, bindings: Sequence[Binding], around: Surroundings, log: MemoryLog, journal: Journal
    ) -> None:
        super().__init__(group, bindings, around)
        self.assignment = RecordingAssignment(around, group, post=self.mailbox.put, observer=self.observer)
        self.assignment.journal = journal
        # every finished message is committed at once: a test need not wait for that
        self.commits = Commits(self, interval=0.0, every=self._settings.commit_every)
        self.transactions = MemoryTransactions(self, most=2 * self._settings.commit_every)
        self.membership = cast("GroupMembership", MemoryMembership(self))
        self.memory = MemoryConsumer(log, group, self.commits.answered)
        self.consumer = cast("GroupConsumer", self.memory)
        self._has_client = True

    @property
    def next_due(self) -> float | None:
        """When the next retry, batch or restart is due (monotonic)."""
        return self.timers.next

    def load_seen(self, assigned: Assigned, found: Seen) -> None:
        """What lies on the topic in memory."""
        for one in self.memory.log.messages(found.topic):
            key = one.key()
            if one.partition() == found.partition and key is not None:
                found.add(key, one.timestamp()[1] / 1000)
        self.mailbox.put(Loaded(assigned, found))

    def step(self) -> bool:
        """Read the mailbox, fire timers, commit, admit what waits; whether anything was to be done."""
        mail = self.mailbox.drain()
        self.read(mail)
        now = self.clock.monotonic()
        due = self.next_due is not None and self.next_due <= now
        self.timers.fire(now)
        self.commits.note_changes()
        self.commits.start_due(now)
        self.transactions.tick(now, at_once=True)
        is_news = bool(self.assignment.admit_waiting()) or due or bool(mail) or bool(self.assignment.taken)
        self.commits.make_ahead(now)
        return is_news

    def deliver(self) -> int:
        """Give the oldest waiting message (for a batch handler all of its partition) to its worker; how many."""
        raws = self.memory.take(self._most)
        self.intake.route(raws)
        return len(raws)

    def _most(self, partition: TopicPartition) -> int:
        return self.assignment.owned[partition].binding.first.declared.batch or 1

    def close_workers(self) -> None:
        """Start nothing new; what runs ends with the next steps."""
        self.assignment.close(list(self.assignment.owned))

    def end(self) -> None:
        """Commit, tell the hooks, give the partitions up."""
        now = self.clock.monotonic()
        ours = self.handover.release(list(self.assignment.owned), deadline=now, commit=True)
        if ours:
            hooks.call(self.app, "revoked", ours)
        self.consumer.unassign(ours)
