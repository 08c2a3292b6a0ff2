"""Movers without their threads, a broker with transactions in a few dicts, and a clock: nothing happens by itself.

The movers' code is the real one. The broker has what their promises rest on: readers see what is committed and nothing
behind an open transaction; offsets are committed with the transaction or not at all; a new owner of a transactional id
ends what its predecessor has left open; only members of the current generation may commit; who is silent is put out.
At each step of a transaction a test may let something happen, in between as well as instead.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, defaultdict
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError as ClientError

import elsa
from elsa import headers as names
from elsa.delays.mover import Mover
from elsa.delays.topics import PARTITIONS, undeliverable_topic, wanted
from elsa.errors import (
    BrokerUnavailable,
    FatalClientError,
    KafkaError,
    TransactionAborted,
    TransactionFenced,
    UnknownTopic,
)
from elsa.kafka.admin import Writable
from elsa.kafka.consumer import BEGINNING, Committed
from elsa.message import TopicPartition
from elsa.names import cancelled_topic, delay_topic
from elsa.observer import MoverObserver, Observer
from elsa.partitioners import murmur2
from elsa.policies import delay
from elsa.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from elsa.kafka.consumer import Commit

NAME = "simulated"
TARGET = "orders"
#: as the mover's: how long a transaction may take, and a member may be silent
TRANSACTION_SECONDS = SESSION_SECONDS = 10.0
#: the steps of a transaction at which something may happen
STEPS = ("begin", "produce", "send_offsets", "commit", "abort")


class Crash(BaseException):
    """The process is gone, in the middle of what it did."""


class Raw:
    """A message or an event, as polled."""

    def __init__(self, where: TopicPartition, offset: int, entry: Entry | None, code: int = 0) -> None:
        self.where = where
        self._offset = offset
        self._entry = entry
        self._code = code

    def error(self) -> ClientError | None:
        return ClientError(self._code) if self._code else None

    def topic(self) -> str:
        return self.where.topic

    def partition(self) -> int:
        return self.where.partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        assert self._entry is not None
        return self._entry.key

    def value(self) -> bytes | None:
        assert self._entry is not None
        return self._entry.value

    def headers(self) -> names.Pairs | None:
        assert self._entry is not None
        return list(self._entry.headers) or None

    def timestamp(self) -> tuple[int, int]:
        assert self._entry is not None
        return 2, self._entry.stamp

    def __len__(self) -> int:
        assert self._entry is not None
        return len(self._entry.value or b"")


@dataclass(eq=False)
class Transaction:
    id: str
    epoch: int
    began: float
    partitions: set[TopicPartition] = field(default_factory=set)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    state: str = "open"


@dataclass(eq=False)
class Entry:
    """A message, or the mark of a transaction's end (no value is kept then)."""

    key: bytes | None
    value: bytes | None
    headers: names.Pairs
    stamp: int
    transaction: Transaction | None = None
    is_marker: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message of the target that readers of committed messages see."""

    number: int
    partition: int
    offset: int
    #: broker's time of its append, and when it was due
    appended: float
    due: float | None
    #: when readers could see it
    visible: float


class Broker:
    """Logs, transactions, one group; time is its own clock's."""

    def __init__(self, clock: FakeClock, partitions: int = 2) -> None:
        self.clock = clock
        self.topics = {TARGET: partitions} | dict.fromkeys(wanted(NAME), PARTITIONS)
        self.logs: dict[TopicPartition, list[Entry]] = defaultdict(list)
        self.starts: dict[TopicPartition, int] = defaultdict(int)
        self.commits: dict[TopicPartition, int] = {}
        self.epochs: dict[str, int] = {}
        self.open: dict[str, Transaction] = {}
        self.committed_at: dict[Transaction, float] = {}
        self.leaderless: set[TopicPartition] = set()
        #: no broker answers before this time of the monotonic clock
        self.away_until = 0.0
        self.members: list[ScriptedConsumer] = []
        self.owners: dict[TopicPartition, ScriptedConsumer] = {}
        self.generation = 0
        #: what a topic refuses: by topic, Kafka's name of the error for a value
        self.refuses: dict[str, Callable[[bytes | None], str | None]] = {}

    @property
    def is_away(self) -> bool:
        return self.clock.monotonic() < self.away_until

    def check_here(self) -> None:
        if self.is_away:
            raise BrokerUnavailable("no broker answers", code="_TRANSPORT")

    # -- logs ------------------------------------------------------------------------------------------

    def append(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: names.Pairs | None = None,
        partition: int | None = None,
        transaction: Transaction | None = None,
    ) -> TopicPartition:
        count = self.topics[topic]
        if partition is None:
            partition = murmur2(key, count) if key is not None else len(self.logs) % count
        where = TopicPartition(topic, partition)
        entry = Entry(key, value, headers or [], int(self.clock.now() * 1000), transaction)
        self.logs[where].append(entry)
        if transaction is not None:
            transaction.partitions.add(where)
        return where

    def stable_end(self, where: TopicPartition) -> int:
        """The first offset of an open transaction, or the end."""
        for offset, entry in enumerate(self.logs[where]):
            if entry.transaction is not None and entry.transaction.state == "open":
                return offset
        return len(self.logs[where])

    def read(self, where: TopicPartition, position: int, most: int) -> list[Raw]:
        """What a reader of committed messages gets."""
        found = []
        for offset in range(max(position, self.starts[where]), self.stable_end(where)):
            entry = self.logs[where][offset]
            if entry.is_marker or (entry.transaction is not None and entry.transaction.state != "committed"):
                continue
            found.append(Raw(where, offset, entry))
            if len(found) >= most:
                break
        return found

    # -- transactions ----------------------------------------------------------------------------------

    def end(self, transaction: Transaction, state: str) -> None:
        assert transaction.state == "open"
        transaction.state = state
        if self.open.get(transaction.id) is transaction:
            del self.open[transaction.id]
        self.committed_at[transaction] = self.clock.now()
        for where in transaction.partitions:
            self.logs[where].append(Entry(None, None, [], int(self.clock.now() * 1000), is_marker=True))
        if state == "committed":
            for where, offset in transaction.offsets.items():
                assert offset >= self.commits.get(where, 0), f"{where} went back to {offset}"
                self.commits[where] = offset

    def is_unsettled(self, where: TopicPartition) -> bool:
        """Whether a transaction may still commit an offset of it."""
        return any(where in transaction.offsets for transaction in self.open.values())

    def expire(self) -> None:
        """Put out who was silent too long, abort what was open too long."""
        for transaction in list(self.open.values()):
            if self.clock.monotonic() - transaction.began > TRANSACTION_SECONDS:
                self.end(transaction, "aborted")
                self.epochs[transaction.id] += 1
        for member in list(self.members):
            if self.clock.monotonic() - member.heard_at > SESSION_SECONDS:
                self.put_out(member)

    # -- the group -------------------------------------------------------------------------------------

    def put_out(self, member: ScriptedConsumer) -> None:
        """Its partitions are free at once; it hears of it when it comes round, if ever."""
        if member in self.members:
            self.members.remove(member)
        mine = [where for where, owner in self.owners.items() if owner is member]
        for where in mine:
            del self.owners[where]
        member.is_out = True
        self.balance()

    def balance(self) -> None:
        """Share the delay topics' partitions out; who has too much is asked to give it back first."""
        self.generation += 1
        for member in self.members:
            member.generation = self.generation
        if not self.members:
            return
        partitions = [TopicPartition(topic, n) for topic in SECONDS for n in range(self.topics[topic])]
        fresh: dict[ScriptedConsumer, list[TopicPartition]] = {}
        for number, where in enumerate(partitions):
            wanted_by = self.members[number % len(self.members)]
            owner = self.owners.get(where)
            if owner is None:
                self.owners[where] = wanted_by
                fresh.setdefault(wanted_by, []).append(where)
            elif owner is not wanted_by:
                owner.call(owner.on_revoke, [where])
        for member in self.members:
            if where_list := fresh.get(member):
                member.call(member.on_assign, where_list)

    def released(self, member: ScriptedConsumer, where: TopicPartition) -> None:
        if self.owners.get(where) is member:
            del self.owners[where]
            self.balance()

    # -- as `App.topics` -------------------------------------------------------------------------------

    def writable(self, topics: Iterable[str]) -> dict[str, Writable]:
        self.check_here()
        found = {}
        for topic in topics:
            if topic not in self.topics:
                found[topic] = Writable(refusal=UnknownTopic(f"topic {topic!r} does not exist"))
                continue
            leaderless = frozenset(where.partition for where in self.leaderless if where.topic == topic)
            found[topic] = Writable(self.topics[topic], leaderless)
        return found

    def begin_trim(self, before: Mapping[TopicPartition, int], *, timeout: float) -> dict[TopicPartition, Future[Any]]:
        futures: dict[TopicPartition, Future[Any]] = {}
        for where, offset in before.items():
            futures[where] = Future()
            if self.is_away:
                futures[where].set_exception(BrokerUnavailable())
                continue
            assert offset <= self.commits.get(where, 0), "what is not moved is deleted"
            self.starts[where] = max(self.starts[where], offset)
            futures[where].set_result(None)
        return futures

    # -- what a test looks at --------------------------------------------------------------------------

    def arrivals(self, topic: str = TARGET) -> list[Arrival]:
        """What readers of committed messages find."""
        found = []
        for partition in range(self.topics.get(topic, 0)):
            where = TopicPartition(topic, partition)
            for offset, entry in enumerate(self.logs[where]):
                if entry.is_marker or entry.transaction is None or entry.transaction.state != "committed":
                    continue
                found.append(
                    Arrival(
                        int(names.text(entry.headers, "number") or -1),
                        partition,
                        offset,
                        entry.stamp / 1000,
                        delay.due_at(entry.headers),
                        self.committed_at[entry.transaction],
                    )
                )
        return found


SECONDS = {delay_topic(NAME, seconds): seconds for seconds in delay.TIERS}


class ScriptedConsumer:
    """One client of one group, or of none; callbacks run inside its polls."""

    def __init__(
        self, mover: SimulatedMover, group: str | None, instance: str | None, callbacks: Mapping[str, Any]
    ) -> None:
        self.mover = mover
        self.broker = mover.world.broker
        self.instance = instance
        self.on_assign = callbacks.get("on_assign")
        self.on_revoke = callbacks.get("on_revoke")
        self.on_lost = callbacks.get("on_lost")
        self.on_error = callbacks.get("on_error")
        self.is_group = group is not None
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.ends: dict[TopicPartition, int] = {}
        self.calls: list[tuple[Any, list[TopicPartition]]] = []
        self.generation = -1
        self.heard_at = self.broker.clock.monotonic()
        self.is_out = False
        self.is_fenced = False
        self.is_closed = False
        self.is_subscribed = False
        self.most = mover.world.most_polled

    def call(self, callback: Any, partitions: list[TopicPartition]) -> None:
        self.calls.append((callback, partitions))

    # -- membership

    def subscribe(self, topics: Sequence[str]) -> None:
        self.is_subscribed = True
        self._join()

    def _join(self) -> None:
        if self.broker.is_away:
            return
        broker = self.broker
        former = next((m for m in broker.members if self.instance and m.instance == self.instance), None)
        self.is_out = False
        self.heard_at = broker.clock.monotonic()
        if former is not None:
            # the same member again: its partitions, in the same generation
            former.is_out = former.is_fenced = True
            broker.members[broker.members.index(former)] = self
            self.generation = broker.generation
            mine = [where for where, owner in broker.owners.items() if owner is former]
            broker.owners |= dict.fromkeys(mine, self)
            if mine:
                self.call(self.on_assign, mine)
            return
        broker.members.append(self)
        broker.balance()

    def unsubscribe(self) -> None:
        self.is_subscribed = False
        if self in self.broker.members and not self.broker.is_away:
            self.broker.members.remove(self)
        mine = list(self.positions)
        self.calls.clear()
        if mine:
            self.call(self.on_revoke, mine)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        for where in [where for where, owner in self.broker.owners.items() if owner is self]:
            del self.broker.owners[where]
        self.broker.balance()

    def beat(self) -> None:
        """A heartbeat, by the client's own thread."""
        if self.is_subscribed and not self.broker.is_away and not self.is_closed:
            self.heard_at = self.broker.clock.monotonic()

    @property
    def is_member(self) -> bool:
        return self in self.broker.members or self.is_out

    def group_metadata(self) -> tuple[ScriptedConsumer, int]:
        return self, self.generation

    # -- messages

    def poll(self, timeout: float) -> list[Raw]:
        if self.is_group:
            self._come_round()
        found = [] if self.broker.is_away else self._read()
        if not found and timeout and not self.is_subscribed:
            # it waits within one step: for what it has to read first, or for the end of its membership
            self.mover.world.round(timeout)
        return found

    def _read(self) -> list[Raw]:
        found: list[Raw] = []
        for where, position in list(self.positions.items()):
            if where in self.paused or len(found) >= self.most:
                continue
            if position < self.broker.starts[where] and position >= 0:
                found.append(Raw(where, position, None, ClientError._AUTO_OFFSET_RESET))
                del self.positions[where]
                continue
            part = self.broker.read(where, max(position, 0), self.most - len(found))
            found += part
            if part:
                self.positions[where] = part[-1].offset() + 1
            elif self.ends.get(where) != (end := self.broker.stable_end(where)):
                self.ends[where] = end
                found.append(Raw(where, end, None, ClientError._PARTITION_EOF))
        return found

    def _come_round(self) -> None:
        if self.is_fenced:
            self.on_error(KafkaError("fenced", code="FENCED_INSTANCE_ID"))
            raise FatalClientError("the client is fenced: FENCED_INSTANCE_ID", code="_FATAL")
        if self.is_subscribed and self not in self.broker.members and not self.is_closed:
            if self.positions:
                self.calls.clear()
                self.on_lost(list(self.positions))
            self._join()
        calls, self.calls = self.calls, []
        for callback, partitions in calls:
            if callback == self.on_revoke:
                partitions = [where for where in partitions if where in self.positions]
            callback(partitions)

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.positions |= {where: 0 if offset == BEGINNING else offset for where, offset in offsets.items()}
        if not self.is_group:
            return
        for where in offsets:
            owner = self.broker.owners.get(where)
            assert owner is self or self.is_out or owner is None, f"{where} is somebody else's"

    def unassign(self, partitions: Iterable[TopicPartition]) -> None:
        gone = [where for where in partitions if self.positions.pop(where, None) is not None]
        for where in gone:
            self.broker.released(self, where)
        if not self.is_subscribed and not self.positions:
            self._hand_over()

    def assigned(self) -> list[TopicPartition]:
        return list(self.positions)

    def reassign(self, where: TopicPartition, offset: int) -> None:
        self.positions[where] = self.broker.starts[where] if offset == BEGINNING else offset

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused -= set(partitions)

    def settled(self, partitions: Iterable[TopicPartition], timeout: float) -> dict[TopicPartition, Committed | None]:
        self.broker.check_here()
        return {
            where: Committed(offset, "") if (offset := self.broker.commits.get(where)) is not None else None
            for where in partitions
            if not self.broker.is_unsettled(where)
        }

    def watermarks(self, where: TopicPartition, timeout: float) -> tuple[int, int]:
        self.broker.check_here()
        return self.broker.starts[where], len(self.broker.logs[where])

    def close(self) -> None:
        self.is_closed = True
        self.is_subscribed = False


class ScriptedProducer:
    """One transactional producer; before and after each step the world may let something happen."""

    def __init__(self, mover: SimulatedMover, transactional_id: str) -> None:
        self.mover = mover
        self.broker = mover.world.broker
        self.id = transactional_id
        self.epoch = -1
        self.stamped: tuple[float, float] | None = None
        self._transaction: Transaction | None = None
        self._failed: list[tuple[Any, Any]] = []
        self._must_abort: str | None = None

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self.mover.world.happen(self.mover, name, "before")
        self.broker.check_here()
        yield
        self.mover.world.happen(self.mover, name, "after")

    def _check(self) -> Transaction:
        if self.broker.epochs.get(self.id) != self.epoch:
            raise TransactionFenced("fenced", code="_FENCED")
        assert self._transaction is not None
        if self._must_abort is not None:
            raise TransactionAborted("it has failed", code=self._must_abort)
        return self._transaction

    def init(self, timeout: float) -> None:
        if self.broker.is_away:
            self.mover.world.round(timeout)
        self.broker.check_here()
        if (left := self.broker.open.get(self.id)) is not None:
            self.broker.end(left, "aborted")
        self.epoch = self.broker.epochs[self.id] = self.broker.epochs.get(self.id, 0) + 1

    def begin(self) -> None:
        with self._step("begin"):
            assert self._transaction is None, "a transaction within another"
            self._failed.clear()
            self._must_abort = self.stamped = None
            self._transaction = Transaction(self.id, self.epoch, self.broker.clock.monotonic())

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None,
        headers: Any = None,
        partition: int | None = None,
        mark: Any = None,
    ) -> None:
        with self._step("produce"):
            transaction = self._check()
            self.broker.open.setdefault(self.id, transaction)
            refuses = self.broker.refuses.get(topic)
            code = refuses(value) if refuses is not None else None
            count = self.broker.topics.get(topic)
            if count is None:
                code = "UNKNOWN_TOPIC_OR_PART"
            elif partition is not None and partition >= count:
                code = "_UNKNOWN_PARTITION"
            if code is not None:
                self._failed.append((KafkaError("refused", code=code, retryable=code.startswith("_MSG")), mark))
                self._must_abort = code
                return
            where = self.broker.append(
                topic, value, key=key, headers=headers, partition=partition, transaction=transaction
            )
            if ".delay." in topic or topic == cancelled_topic(NAME):
                self.stamped = self.broker.logs[where][-1].stamp / 1000, self.mover.clock.monotonic()

    def send_offsets(
        self, commits: Mapping[TopicPartition, Commit], consumer: ScriptedConsumer, timeout: float
    ) -> None:
        member, generation = consumer.group_metadata()
        with self._step("send_offsets"):
            transaction = self._check()
            if member not in self.broker.members or generation != self.broker.generation:
                self._must_abort = "ILLEGAL_GENERATION"
                raise TransactionAborted("not a member", code="ILLEGAL_GENERATION")
            self.broker.open.setdefault(self.id, transaction)
            for where, commit in commits.items():
                assert self.broker.owners.get(where) is member, f"{where} is committed by another"
                transaction.offsets[where] = commit.offset

    def commit(self, timeout: float) -> None:
        with self._step("commit"):
            transaction = self._check()
            self._transaction = None
            if self.id in self.broker.open:
                self.broker.end(transaction, "committed")

    def abort(self, timeout: float) -> None:
        with self._step("abort"):
            if self.broker.epochs.get(self.id) != self.epoch:
                raise TransactionFenced("fenced", code="_FENCED")
            transaction, self._transaction = self._transaction, None
            if transaction is not None and transaction.state == "open" and self.id in self.broker.open:
                self.broker.end(transaction, "aborted")

    def failures(self) -> list[tuple[Any, Any]]:
        return list(self._failed)

    def close(self) -> None:
        """What is open is left as it is."""


@dataclass(frozen=True, slots=True)
class SkewedClock:
    """The clock of one machine."""

    clock: FakeClock
    skew: float

    def now(self) -> float:
        return self.clock.now() + self.skew

    def monotonic(self) -> float:
        return self.clock.monotonic()


class Counting(MoverObserver):
    """What is told of the movers."""

    def __init__(self) -> None:
        self.outcomes = Counter[str]()
        self.delays: list[float] = []
        self.aborts = Counter[str]()
        self.waiting = 0

    def moved(self, outcomes: Mapping[str, int], delays: Sequence[float]) -> None:
        self.outcomes.update(outcomes)
        self.delays += delays

    def aborted(self, code: str) -> None:
        self.aborts[code] += 1

    def due(self, messages: int) -> None:
        self.waiting = messages


class SimulatedMover:
    """One worker's mover, with the machine that it runs on."""

    def __init__(self, world: World, name: str, *, is_static: bool, skew: float = 0.0) -> None:
        self.world = world
        self.name = name
        self.is_static = is_static
        self.clock = SkewedClock(world.clock, skew)
        self.consumers: list[ScriptedConsumer] = []
        self.waits_until = 0.0
        self.is_busy = False
        self.is_frozen = False
        self.mover = Mover(
            world.app,
            instance=name,
            is_static=is_static,
            clock=self.clock,
            make_consumer=self._consumer,
            make_producer=lambda _, identity, timeout: ScriptedProducer(self, identity),  # type: ignore[arg-type,return-value]  # a stand-in
        )

    def _consumer(self, _: Any, group: str | None, *, instance: str | None = None, **callbacks: Any) -> Any:
        made = ScriptedConsumer(self, group, instance, callbacks)
        self.consumers = [one for one in self.consumers if not one.is_closed]
        self.consumers.append(made)
        return made

    def step(self) -> None:
        """What its thread does next, if it does not wait."""
        if self.is_busy or self.world.clock.monotonic() < self.waits_until:
            return
        self.is_busy = True
        try:
            self.waits_until = self.world.clock.monotonic() + self.mover.step()
        except Crash:
            self.world.gone(self)
        finally:
            self.is_busy = False

    def beat(self) -> None:
        if not self.is_frozen:
            for consumer in self.consumers:
                consumer.beat()

    def stop(self) -> None:
        """An orderly end."""
        self.mover.stop()
        self.is_busy = True
        try:
            self.mover._end(leave=True)
        except Crash:
            pass
        self.world.gone(self)


class World:
    """A broker, movers that come and go, and what was sent: the model."""

    def __init__(self, *, partitions: int = 2, most_polled: int = 5) -> None:
        self.clock = FakeClock(1_000_000.0)
        self.most_polled = most_polled
        self.broker = Broker(self.clock, partitions)
        self.app = elsa.App(NAME)
        self.observer = Counting()
        self.app.observer = _Observer(self.observer)
        self.app.__dict__["topics"] = self.broker
        self.app.__dict__["groups"] = self
        self.movers: list[SimulatedMover] = []
        self._names = itertools.count()
        #: number -> (due, key, target partition)
        self.sent: dict[int, tuple[float, bytes | None, int | None]] = {}
        self.cancelled: set[int] = set()
        #: what happens next at a step: (mover, step, when) -> action
        self.plans: dict[tuple[str, str], list[Callable[[SimulatedMover], None]]] = defaultdict(list)
        #: how long it takes to end a transaction, in two steps
        self.step_seconds = 0.0

    # -- as `App.groups`

    def owned(self, group: str) -> set[TopicPartition] | None:
        self.broker.check_here()
        return set(self.broker.owners)

    # -- what a test can do ----------------------------------------------------------------------------

    def add_mover(self, name: str | None = None, *, is_static: bool = True, skew: float = 0.0) -> SimulatedMover:
        made = SimulatedMover(self, name or f"m{next(self._names)}", is_static=is_static, skew=skew)
        self.movers.append(made)
        return made

    def gone(self, mover: SimulatedMover) -> None:
        """A process has ended, in whatever way."""
        if mover in self.movers:
            self.movers.remove(mover)

    def send(self, wait: float, *, key: bytes | None = None, partition: int | None = None, topic: str = TARGET) -> int:
        """Put a message off, as `sending.address` does."""
        number = len(self.sent)
        due = round(self.clock.now() + wait, 3)
        self.sent[number] = (due, key, partition)
        target = topic if partition is None else f"{topic}:{partition}"
        seconds = delay.tier(wait)
        assert seconds is not None
        headers = delay.envelope([("number", b"%d" % number), (names.ID, b"id-%d" % number)], due=due, target=target)
        self.broker.append(delay_topic(NAME, seconds), b"%d" % number, key=key, headers=headers)
        return number

    def cancel(self, number: int, ttl: float = 7 * 24 * 3600.0) -> None:
        until = f"{self.clock.now() + ttl:.3f}".encode()
        self.broker.append(cancelled_topic(NAME), b"1", key=b"id-%d" % number, headers=[(names.EXPIRES_AT, until)])
        self.cancelled.add(number)

    def plan(self, step: str, when: str, action: Callable[[SimulatedMover], None]) -> None:
        """Let something happen at the next such step, whoever makes it."""
        self.plans[step, when].append(action)

    def happen(self, mover: SimulatedMover, step: str, when: str) -> None:
        if when == "before" and step in {"send_offsets", "commit"}:
            self.clock.advance(self.step_seconds)
        for action in self.plans.pop((step, when), []):
            action(mover)

    def freeze(self, mover: SimulatedMover, seconds: float) -> None:
        """A process stands still, in the middle of what it did, while the others go on."""
        mover.is_frozen = True
        for _ in range(round(seconds / 0.2)):
            self.round(0.2)
        mover.is_frozen = False

    def round(self, seconds: float = 0.02) -> None:
        """Time passes, clients send heartbeats, everybody does what there is to do."""
        self.clock.advance(seconds)
        for mover in list(self.movers):
            mover.beat()
        self.broker.expire()
        for mover in list(self.movers):
            mover.step()

    def run(self, seconds: float, step: float = 0.02) -> None:
        """Let time pass in small rounds."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.round(step)

    def skip(self, seconds: float) -> None:
        """Let much time pass in which nothing is due: heartbeats go on."""
        while seconds > 0:
            part = min(seconds, 9.0)
            self.clock.advance(part)
            for mover in self.movers:
                mover.beat()
            seconds -= part
        self.broker.expire()

    @property
    def next_due(self) -> float | None:
        """When the first message leaves its delay topic, by the broker's clock."""
        found = []
        for where, entries in self.broker.logs.items():
            seconds = SECONDS.get(where.topic)
            if seconds is None:
                continue
            for entry in entries[self.broker.commits.get(where, 0) :]:
                is_there = entry.transaction is None or entry.transaction.state == "committed"
                if is_there and not entry.is_marker:
                    found.append(entry.stamp / 1000 + seconds)
                    break
        return min(found, default=None)

    def run_dry(self, rounds: int = 20_000) -> None:
        """Let everything that is waiting come to its end, over days if need be."""
        for _ in range(rounds):
            due = self.next_due
            if due is None and not self.broker.open:
                return
            if due is not None and due - self.clock.now() > 8.0:
                self.skip(due - self.clock.now() - 7.0)
            self.round(0.05)
        raise AssertionError(f"stuck with {self.observer.outcomes}, aborts {self.observer.aborts}")

    def check(self, *, lateness: float | None = None) -> None:
        """Each message arrived once, none early, those that cannot arrive are kept or cancelled."""
        seen = Counter(arrival.number for arrival in self.broker.arrivals())
        letters = Counter(letter.number for letter in self.broker.arrivals(undeliverable_topic(NAME)))
        for number, (due, key, partition) in self.sent.items():
            ends = seen[number] + letters[number]
            if number in self.cancelled:
                assert ends <= 1, f"{number} came {ends} times"
            else:
                assert ends == 1, f"{number} (due {due}, key {key!r}, to {partition}) came {ends} times"
        for arrival in self.broker.arrivals():
            due, key, partition = self.sent[arrival.number]
            assert arrival.appended >= due - 0.001, f"{arrival.number} came {due - arrival.appended:.3f} s early"
            assert partition is None or partition == arrival.partition
            if lateness is not None:
                late = arrival.visible - due
                assert late <= lateness, f"{arrival.number} came {late:.3f} s late"

    def end(self) -> None:
        self.app.stop()


class _Observer(Observer):
    def __init__(self, mover: Counting) -> None:
        self._mover = mover

    def mover(self) -> Counting:
        return self._mover
