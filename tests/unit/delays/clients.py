"""The clients of simulated movers, by the methods of the real ones; what they do happens in the simulated broker."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError as ClientError

from elsa.errors import BrokerUnavailable, FatalClientError, KafkaError, TransactionAborted, TransactionFenced
from elsa.kafka.consumer import BEGINNING, Committed
from elsa.kafka.membership import Proof
from elsa.names import cancelled_topic

from .cluster import NAME, Raw, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from elsa.kafka.consumer import Commit
    from elsa.message import TopicPartition

    from .simulation import SimulatedMover


class ScriptedConsumer:
    """One client of one group, or of none; callbacks run inside its polls."""

    def __init__(
        self,
        mover: SimulatedMover,
        group: str | None,
        instance: str | None,
        callbacks: Mapping[str, Any],
        *,
        is_committed_only: bool,
    ) -> None:
        self.mover = mover
        self.broker = mover.world.broker
        self.instance = instance
        self.on_assign: Any = callbacks.get("on_assign")
        self.on_revoke: Any = callbacks.get("on_revoke")
        self.on_lost: Any = callbacks.get("on_lost")
        self.on_error: Any = callbacks.get("on_error")
        self.is_group = group is not None
        self.is_committed_only = is_committed_only
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

    def proof(self) -> Proof | None:
        return Proof("g", (self, self.generation)) if self.is_member else None

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
            most, only = self.most - len(found), self.is_committed_only
            part = self.broker.read(where, max(position, 0), most, is_committed_only=only)
            found += part
            if part:
                self.positions[where] = part[-1].offset() + 1
            elif self.ends.get(where) != (end := self.broker.end_of(where, is_committed_only=only)):
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
            is_revoke = callback == self.on_revoke
            callback([where for where in partitions if where in self.positions] if is_revoke else partitions)

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
        wanted = list(partitions)
        if any(map(self.broker.is_unsettled, wanted)):
            # librdkafka asks again until its time is over
            self.mover.world.round(timeout)
        self.broker.check_here()
        if any(map(self.broker.is_unsettled, wanted)):
            raise BrokerUnavailable("no answer came", code="_TIMED_OUT")
        return {
            where: Committed(offset, "") if (offset := self.broker.commits.get(where)) is not None else None
            for where in wanted
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
        #: as librdkafka does: after a refused message its next transaction may begin with a wrong sequence number
        self._is_spoiled = False

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
        self._is_spoiled = False
        self._transaction = None
        if (left := self.broker.open.get(self.id)) is not None:
            self.broker.end(left, "aborted")
        self.epoch = self.broker.epochs[self.id] = self.broker.epochs.get(self.id, 0) + 1

    def begin(self) -> None:
        with self._step("begin"):
            assert self._transaction is None, "a transaction within another"
            assert not self._is_spoiled, "a producer is used again after one of its messages was refused"
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
                self._is_spoiled = True
                return
            where = self.broker.append(
                topic, value, key=key, headers=headers, partition=partition, transaction=transaction
            )
            if ".delay." in topic or topic == cancelled_topic(NAME):
                self.stamped = self.broker.logs[where][-1].stamp / 1000, self.mover.clock.monotonic()

    def send_offsets(self, commits: Mapping[TopicPartition, Commit], proof: Proof, timeout: float) -> None:
        member, generation = proof.group_metadata()
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

    def recover(self, timeout: float) -> bool:
        is_spoiled = bool(self._failed)
        self.abort(timeout)
        return not is_spoiled

    def failures(self) -> list[tuple[Any, Any]]:
        return list(self._failed)

    def close(self) -> None:
        """What is open is left as it is."""
