"""A broker in a few dicts: logs, transactions, one consumer group, and time; what the promises of movers rest on.

Readers see what is committed and nothing behind an open transaction; offsets are committed with the transaction or not
at all; a new owner of a transactional id ends what its predecessor has left open; only members of the current
generation may commit; who is silent is put out.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError as ClientError

from elsa import headers as names
from elsa.delays.topics import PARTITIONS, wanted
from elsa.errors import BrokerUnavailable, UnknownTopic
from elsa.kafka.admin import Writable
from elsa.message import TopicPartition
from elsa.names import delay_topic
from elsa.partitioners import murmur2
from elsa.policies import delay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from elsa.testing.clock import FakeClock

    from .clients import ScriptedConsumer

NAME = "simulated"
TARGET = "orders"
#: as the mover's: how long a transaction may take, and a member may be silent
TRANSACTION_SECONDS = SESSION_SECONDS = 10.0
SECONDS = {delay_topic(NAME, seconds): seconds for seconds in delay.TIERS}


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

    def end_of(self, where: TopicPartition, *, is_committed_only: bool) -> int:
        """The end; for a reader of committed messages the first offset of an open transaction, if there is one."""
        for offset, entry in enumerate(self.logs[where]):
            if is_committed_only and entry.transaction is not None and entry.transaction.state == "open":
                return offset
        return len(self.logs[where])

    def read(self, where: TopicPartition, position: int, most: int, *, is_committed_only: bool) -> list[Raw]:
        """What a reader gets."""
        found = []
        end = self.end_of(where, is_committed_only=is_committed_only)
        for offset in range(max(position, self.starts[where]), end):
            entry = self.logs[where][offset]
            is_committed = entry.transaction is None or entry.transaction.state == "committed"
            if entry.is_marker or (is_committed_only and not is_committed):
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
        # also of a topic that was deleted since
        for where in sorted(one for one in self.logs if one.topic == topic):
            for offset, entry in enumerate(self.logs[where]):
                if entry.is_marker or entry.transaction is None or entry.transaction.state != "committed":
                    continue
                found.append(
                    Arrival(
                        int(names.text(entry.headers, "number") or -1),
                        where.partition,
                        offset,
                        entry.stamp / 1000,
                        delay.due_at(entry.headers),
                        self.committed_at[entry.transaction],
                    )
                )
        return found
