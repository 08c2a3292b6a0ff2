"""A group manager without its threads, a broker in a few dicts, and a clock: everything happens when a test says so.

The engine's code is the real one: group manager, trackers, lanes, deliveries, commits. Handlers are coroutines that
stop inside each call until the test says how it ends.
"""

from __future__ import annotations

import queue
import types
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import elsa
from elsa.control.protocol import Target
from elsa.kafka.consumer import BEGINNING, Committed
from elsa.message import TopicPartition
from elsa.testing.clock import FakeClock
from elsa.worker import progress, starts
from elsa.worker.budget import Budget
from elsa.worker.group import GroupManager
from elsa.worker.mailbox import Mailbox, Pause, Resume
from elsa.worker.pace import Paces
from elsa.worker.surroundings import Surroundings

from .parts import Place, Raw

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from elsa.kafka.consumer import Commit
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.turns import Turn

    #: the fixture `join`
    Join = Callable[..., "Member"]

TOPIC, GROUP = "t", "g"
#: the clock of the member that was made last: what calls last is measured by it, too (fixture `simulated_time`)
_CLOCK = [FakeClock()]


def counter() -> float:
    """In place of `time.perf_counter`: on a busy machine a turn must not end where it did not end before."""
    return _CLOCK[0].monotonic()


@types.coroutine
def pause(body: int) -> Generator[int, Any, Any]:
    """Give the call to the test, and get its end from it."""
    return (yield body)


class Broker:
    """Logs, commits, and nothing else; `done` is what handlers have really finished."""

    def __init__(self, partitions: int) -> None:
        self.logs: dict[TopicPartition, list[Raw]] = {TopicPartition(TOPIC, n): [] for n in range(partitions)}
        self.commits: dict[TopicPartition, Committed] = {}
        self.done: dict[TopicPartition, set[int]] = defaultdict(set)
        self._numbers = 0

    def produce(self, partition: int, key: bytes | None, *, gap: int = 0) -> int:
        """A message, behind offsets that the log does not have; returns its body."""
        where = TopicPartition(TOPIC, partition)
        log = self.logs[where]
        offset = (log[-1].offset() + 1 if log else 0) + gap
        self._numbers += 1
        log.append(Raw(offset, b"%d" % self._numbers, topic=TOPIC, partition=partition, key=key))
        return self._numbers

    def commit(self, commits: Mapping[TopicPartition, Commit]) -> None:
        for where, commit in commits.items():
            told = {raw.offset() for raw in self.logs[where] if self.says_done(where, raw.offset())}
            self.commits[where] = Committed(commit.offset, commit.metadata)
            self.check(where)
            forgotten = {offset for offset in told if not self.says_done(where, offset)}
            assert not forgotten, f"{where} offsets {forgotten} were told as done and would run again"

    def check(self, where: TopicPartition) -> None:
        """What is committed was done, and what its metadata says is done was done; offsets never go back."""
        commit, done = self.commits[where], self.done[where]
        assert len(commit.metadata) <= progress.MOST_BYTES
        for raw in self.logs[where]:
            if raw.offset() < commit.offset or self.says_done(where, raw.offset()):
                assert raw.offset() in done, f"{where} offset {raw.offset()} is committed and was never handled"

    def says_done(self, where: TopicPartition, offset: int) -> bool:
        """Whether a new owner is told not to run this."""
        commit = self.commits.get(where)
        if commit is None:
            return False
        restored = progress.decode(commit.metadata, commit.offset)
        return offset < commit.offset or (restored is not None and restored.is_done(offset))

    def is_all_done(self) -> bool:
        return all(raw.offset() in self.done[where] for where, log in self.logs.items() for raw in log)

    def is_all_committed(self) -> bool:
        return all(self.says_done(where, raw.offset()) for where, log in self.logs.items() for raw in log)


def filled(*counts: int) -> Broker:
    """A broker with so many messages in each partition, each of a key of its own."""
    broker = Broker(len(counts))
    for partition, count in enumerate(counts):
        for number in range(count):
            broker.produce(partition, b"%d" % number)
    return broker


class ScriptedConsumer:
    """One member's client: polls give what the test has prepared, callbacks run inside of them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.callbacks: list[Callable[[], None]] = []
        #: how many messages one poll gives at most
        self.most = 3
        #: commits that are under way, and how the next ones end
        self.under_way: list[dict[TopicPartition, Commit]] = []
        self.answers: list[bool] = []
        #: the group's coordinator is away: no commit is answered
        self.is_silent = False
        #: answers that the next poll brings
        self._news: list[tuple[dict[TopicPartition, Commit], bool]] = []
        self.on_commit: Callable[[Any, bool, list[TopicPartition]], None]
        self.is_closed = False

    def poll(self, _: float, __: int) -> list[Any]:
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()
        self._answer()
        found: list[Raw] = []
        for where, position in self.positions.items():
            if where in self.paused:
                continue
            rest = [raw for raw in self._broker.logs[where] if raw.offset() >= position]
            part = rest[: self.most - len(found)]
            found += part
            if part:
                self.positions[where] = part[-1].offset() + 1
        return found

    def _arrive(self) -> None:
        """What is under way reaches the broker, in the order in which it was sent."""
        if self.is_silent:
            return
        under_way, self.under_way = self.under_way, []
        for commits in under_way:
            is_taken = self.answers.pop(0) if self.answers else True
            if is_taken:
                self._broker.commit(commits)
            self._news.append((commits, is_taken))

    def _answer(self) -> None:
        self._arrive()
        news, self._news = self._news, []
        for commits, is_taken in news:
            self.on_commit(None if is_taken else elsa.errors.KafkaError("refused"), not is_taken, list(commits))

    def commit(self, commits: Mapping[TopicPartition, Commit]) -> None:
        self.under_way.append(dict(commits))

    def commit_now(self, commits: Mapping[TopicPartition, Commit]) -> tuple[Exception | None, bool]:
        assert not self.is_silent, "this would wait for a coordinator that is away"
        self._arrive()
        if self.answers.pop(0) if self.answers else True:
            self._broker.commit(commits)
            return None, False
        return elsa.errors.KafkaError("refused"), True

    def committed(self, partitions: Iterable[TopicPartition], _: float) -> dict[TopicPartition, Committed | None]:
        return {one: self._broker.commits.get(one) for one in partitions}

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        for where, offset in offsets.items():
            self.seek(where, offset)

    def seek(self, where: TopicPartition, offset: int) -> None:
        self.positions[where] = 0 if offset == BEGINNING else offset

    def unassign(self, partitions: Iterable[TopicPartition]) -> bool:
        for where in partitions:
            self.positions.pop(where, None)
        return bool(self.positions)

    def assigned(self) -> list[TopicPartition]:
        return list(self.positions)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused -= set(partitions)

    def resume_at(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.resume(offsets)
        for where, offset in offsets.items():
            if offset >= 0:
                self.seek(where, offset)

    def unsubscribe(self) -> None:
        """What is left is revoked with the next poll."""

    def generation(self) -> int:
        return 1

    def watermarks(self, where: TopicPartition, _: float) -> tuple[int, int]:
        log = self._broker.logs[where]
        return (log[0].offset() if log else 0), len(log)

    def cached_watermarks(self, where: TopicPartition) -> tuple[int, int]:
        return 0, len(self._broker.logs[where])

    def close(self) -> None:
        self.is_closed = True


@dataclass(eq=False)
class Call:
    """A handler call that is under way."""

    turn: Turn
    coroutine: Any
    body: int
    raw: Any

    @property
    def worker(self) -> PartitionWorker:
        return self.turn.worker


class Waiting(Mailbox):
    """A mailbox whose owner waits for nothing real: meanwhile calls end, or time passes."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self._member = member

    def wait(self, timeout: float) -> list[Any]:
        self._member.while_waiting(timeout)
        return self.drain()


@dataclass(eq=False)
class Member:
    """One worker process: its group manager and its calls. `policy` says what happens while the manager waits."""

    broker: Broker
    ordering: str = "key"
    retry: elsa.Retry = field(default_factory=lambda: elsa.Retry(max_attempts=3, base=1, jitter=False))
    options: Mapping[str, Any] = field(default_factory=dict)
    policy: Callable[[Member], str] = lambda _: "finish"
    name: str = "simulated"

    def __post_init__(self) -> None:
        _CLOCK[0] = self.clock = FakeClock(1_000_000.0)
        # sums of floats depend on where they begin
        self.clock._monotonic = 1_000.0
        self.app = elsa.App(self.name, commit_interval=1.0, drain_timeout=5.0, stop_timeout=10.0)
        self.calls: list[Call] = []
        #: (partition, offset) of every start, in order
        self.started: list[tuple[TopicPartition, int]] = []
        self.place = Place(limit=4)

        @self.app.handler(TOPIC, group=GROUP, ordering=self.ordering, retry=self.retry, **self.options)
        async def handle(body: int) -> Any:
            end = await pause(body)
            if isinstance(end, BaseException):
                raise end
            return end

        around = Surroundings(
            app=self.app,
            executors=self,  # type: ignore[arg-type]  # a stand-in
            settlement=self,  # type: ignore[arg-type]  # a stand-in
            budget=Budget(messages=1_000, size=10**6),
            clock=self.clock,
            fail=self._failed,
            paces=Paces(self.clock),
        )
        self.manager = GroupManager(GROUP, self.app.registry.bindings(), around)
        mailbox = Waiting(self)
        self.manager.mailbox = mailbox
        assignment = self.manager.assignment
        assignment._equipment = replace(assignment._equipment, post=mailbox.put)
        self.consumer = ScriptedConsumer(self.broker)
        self.consumer.on_commit = self.manager.commits.answered
        self.manager.consumer = self.consumer  # type: ignore[assignment]  # a stand-in
        self.manager._has_client = True
        self.manager.is_ready = True
        self.manager.membership.leave = self._leave  # type: ignore[method-assign]  # nobody to leave
        self.failures: list[str] = []

    # -- as executors and settlement

    def of(self, _: Any) -> Place:
        return self.place

    def dead_letter(self, worker: PartitionWorker, raw: Any, _: Any, settled: Callable[[Any], None]) -> None:
        self.broker.done[worker.partition].add(raw.offset())
        settled(raw)

    def hurry(self, _: PartitionWorker) -> None:
        """No copy waits here."""

    def _failed(self, text: str, _code: int) -> None:
        self.failures.append(text)

    def _leave(self, *, for_good: bool) -> None:
        """Nobody else is told."""

    # -- what a test can do

    def turn(self) -> None:
        """One round of the manager's loop; time passes a little, so that it does everything that is due."""
        self.clock.advance(0.11)
        self.manager.turn()

    def rebalance(self, *, assign: Sequence[int] = (), revoke: Sequence[int] = (), lost: Sequence[int] = ()) -> None:
        """Let the next poll call back."""
        manager = self.manager

        def call(callback: Callable[[list[TopicPartition]], None], numbers: Sequence[int]) -> None:
            partitions = [TopicPartition(TOPIC, number) for number in numbers]
            self.consumer.callbacks.append(lambda: manager.trouble.guarded(callback)(partitions))

        if revoke:
            call(manager.handover.revoked, revoke)
        if lost:
            call(manager.handover.lost, lost)
        if assign:
            call(self._assigned, assign)

    def _assigned(self, partitions: list[TopicPartition]) -> None:
        manager = self.manager
        fresh = manager.routes.served(partitions)
        manager.handover.take(starts.resolve(manager.consumer, fresh, GROUP, manager.routes))

    def pause(self, **target: Any) -> list[int]:
        """An operator pauses; which partitions here are meant."""
        return self._tell(Pause(Target(**target), queue.SimpleQueue()))

    def resume(self, **target: Any) -> list[int]:
        """An operator resumes; which partitions here are meant."""
        return self._tell(Resume(Target(**target), queue.SimpleQueue()))

    def _tell(self, wish: Pause | Resume) -> list[int]:
        self.manager.read([wish])
        return [where.partition for where in wish.answer.get_nowait()]

    @property
    def owned(self) -> list[int]:
        return [where.partition for where in self.manager.assignment.owned]

    def begin(self) -> bool:
        """Let an executor take one turn, if there is a place and something to run."""
        if len(self.calls) >= self.place.limit or not self.place.waiting:
            return False
        worker = next(iter(self.place.waiting))
        self.place.waiting.pop(worker)
        turn = worker.begin(self.place)
        if turn is None:
            return False
        if worker.is_ready(self.place):
            self.place.submit(worker)
        self._go(turn, worker.run(turn), None)
        return True

    def _go(self, turn: Turn, coroutine: Any, value: Any) -> None:
        """Run a turn up to its next call, or to its end."""
        try:
            body = coroutine.send(value)
        except StopIteration:
            if turn.worker.settle(turn):
                self.place.submit(turn.worker)
            return
        raw = turn.current
        self._check_start(turn, raw)
        self.started.append((turn.worker.partition, raw.offset()))
        self.calls.append(Call(turn, coroutine, body, raw))

    def _check_start(self, turn: Turn, raw: Any) -> None:
        """The same key never runs twice at once; with one lane nothing does."""
        worker = turn.worker
        assigned = self.manager.assignment.owned.get(worker.partition)
        is_ours = assigned is not None and assigned.worker is worker
        assert is_ours, f"{worker.partition} offset {raw.offset()} began after its partition was given up"
        assert assigned is not None
        # what was committed before it runs also runs when its partition goes
        assert worker.is_stopping or not assigned.is_paused, f"{worker.partition} offset {raw.offset()} began paused"
        for call in self.calls:
            if call.worker is not worker or worker.closed:
                continue
            is_same_lane = self.ordering == "partition" or (
                self.ordering == "key" and raw.key() is not None and call.raw.key() == raw.key()
            )
            assert not is_same_lane, f"{worker.partition} offset {raw.offset()} began beside {call.raw.offset()}"

    def finish(self, index: int = 0, end: Any = None) -> None:
        """Let a call end: with a value, or by raising `end`."""
        call = self.calls.pop(index % len(self.calls))
        if not isinstance(end, BaseException) or isinstance(end, elsa.Skip):
            self.broker.done[call.worker.partition].add(call.raw.offset())
        self._go(call.turn, call.coroutine, end)

    def while_waiting(self, timeout: float) -> None:
        """The manager waits: somebody finishes, or time passes until its deadline."""
        if self.policy(self) == "finish" and self.calls:
            self.finish()
        else:
            self.clock.advance(max(timeout, 0.05))
            # what waits for nothing but the deadline need not take real time
            self.clock.advance(1.0 if self.calls else 0.0)

    def stop(self, seconds: float = 10.0) -> None:
        """An orderly stop that may take so long, to its end."""
        self.manager.stop(self.clock.monotonic() + seconds, leave=True)
        self.manager.read(self.manager.mailbox.drain())
        assert self.manager.stopping is not None
        self.manager.handover.drain(self.manager.stopping)

    def end(self) -> None:
        """The process is gone, whatever it was doing."""
        for call in self.calls:
            call.coroutine.close()
        self.calls.clear()
        self.app.stop()

    def run_dry(self, *, rounds: int = 2_000) -> None:
        """Let everything that can happen happen, all of it well."""
        for _ in range(rounds):
            self.turn()
            while self.begin():
                pass
            while self.calls:
                self.finish()
            if self.broker.is_all_committed():
                return
        raise AssertionError(f"stuck: {self.broker.commits}, {self.place.waiting}, {self.manager.assignment.owned}")
