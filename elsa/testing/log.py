"""Topics in memory in place of a broker: what the harness's producer writes and its consumers read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from elsa.kafka.errors import ClientError, ClientException
from elsa.message import TopicPartition
from elsa.names import is_internal
from elsa.partitioners import murmur2
from elsa.policies.dead_letter import EXTRA_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from elsa.clock import Clock
    from elsa.kafka.consumer import Committed

#: what a broker takes unless it is told otherwise (`message.max.bytes`)
BROKER_LIMIT = 1_048_588
#: what Elsa's producer takes (see elsa.kafka.producer)
CLIENT_LIMIT = 10 * 1024 * 1024


class StoredMessage:
    """A message as a client would hand it over: the accessors that the engine uses."""

    __slots__ = ("_headers", "_key", "_milliseconds", "_offset", "_value", "_where", "sequence")

    def __init__(  # noqa: PLR0917 - a message's fields
        self,
        where: TopicPartition,
        offset: int,
        value: bytes | None,
        key: bytes | None,
        headers: list[tuple[str, bytes | None]] | None,
        milliseconds: int,
        sequence: int,
    ) -> None:
        self._where = where
        self._offset = offset
        self._value = value
        self._key = key
        self._headers = headers
        self._milliseconds = milliseconds
        #: its place among all messages of the log
        self.sequence = sequence

    def __len__(self) -> int:
        return len(self._value or b"")

    def topic(self) -> str:
        return self._where.topic

    def partition(self) -> int:
        return self._where.partition

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes | None:
        return self._value

    def key(self) -> bytes | None:
        return self._key

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return 1, self._milliseconds

    def leader_epoch(self) -> int | None:
        return 0

    def error(self) -> None:
        return None


class Report:
    """What a Delivery gets to know of a written message (it drops the payload of its report)."""

    __slots__ = ("_stored",)

    def __init__(self, stored: StoredMessage) -> None:
        self._stored = stored

    def partition(self) -> int:
        return self._stored.partition()

    def offset(self) -> int:
        return self._stored.offset()

    def timestamp(self) -> tuple[int, int]:
        return self._stored.timestamp()

    def latency(self) -> float:
        return 0.0

    def set_value(self, _: None) -> None: ...


class MemoryLog:
    """All topics of one harness, and what its groups have committed.

    Messages may be written by any thread (under `_lock`); nothing is ever removed, so reading needs no lock.
    """

    def __init__(self, clock: Clock, partitions: Mapping[str, int] | int) -> None:
        self.clock = clock
        self.committed: dict[tuple[str, TopicPartition], Committed] = {}
        self._wanted = partitions
        #: called with each new topic, by the thread that made it
        self.created: Callable[[str], None] | None = None
        self._lock = threading.RLock()
        self._topics: dict[str, list[list[StoredMessage]]] = {}
        self._count = 0
        self._round = 0
        #: topic -> (Kafka's name of the error, how many more messages; None for all)
        self.refusals: dict[str, tuple[str, int | None]] = {}

    def create(self, topic: str, partitions: int | None = None) -> None:
        """Make a topic that is not there yet; the number of partitions asked for in `app.test` wins."""
        with self._lock:
            if topic in self._topics:
                return
            wanted = self._wanted if isinstance(self._wanted, int) else self._wanted.get(topic)
            self._topics[topic] = [[] for _ in range(wanted or partitions or 1)]
        if self.created is not None:
            self.created(topic)

    def grow(self, topic: str, partitions: int) -> None:
        """Give a topic more partitions."""
        with self._lock:
            parts = self._topics[topic]
            parts += [[] for _ in range(partitions - len(parts))]
        if self.created is not None:
            self.created(topic)

    @property
    def written(self) -> int:
        """How many messages were written so far: the next one's `sequence`."""
        return self._count

    def counts(self) -> dict[str, int]:
        """The topics and their numbers of partitions."""
        with self._lock:
            return {topic: len(parts) for topic, parts in self._topics.items()}

    def partition_count(self, topic: str) -> int:
        """The topic's number of partitions; it is made when it is not there, as in development."""
        self.create(topic)
        return len(self._topics[topic])

    def read(self, where: TopicPartition) -> list[StoredMessage]:
        """Everything in a partition."""
        return self._topics[where.topic][where.partition]

    def messages(self, topic: str | None = None) -> list[StoredMessage]:
        """Everything on a topic (on all without one), in the order it was sent."""
        with self._lock:
            names = list(self._topics) if topic is None else [topic] if topic in self._topics else []
            found = [one for name in names for part in self._topics[name] for one in part]
        return sorted(found, key=lambda one: one.sequence)

    def append(  # noqa: PLR0917 - as the client has them
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        milliseconds: int,
        headers: list[tuple[str, bytes | None]] | None,
    ) -> tuple[ClientError | None, StoredMessage]:
        """Write a message, partition -1 for the key's; (why it was refused, it)."""
        count = self.partition_count(topic)
        with self._lock:
            if partition < 0:
                partition = murmur2(key, count) if key is not None else self._round % count
                self._round += key is None
            where = TopicPartition(topic, partition)
            part = self.read(where)
            milliseconds = milliseconds or round(self.clock.now() * 1000)
            stored = StoredMessage(where, len(part), value, key, headers, milliseconds, self._count)
            error = self._refusal(topic) or self._oversize(topic, stored)
            if error is None:
                part.append(stored)
                self._count += 1
            return error, stored

    def _refusal(self, topic: str) -> ClientError | None:
        if topic not in self.refusals:
            return None
        code, left = self.refusals[topic]
        if left is not None:
            if left > 1:
                self.refusals[topic] = (code, left - 1)
            else:
                del self.refusals[topic]
        return ClientError(getattr(ClientError, code), "refused by the test")

    @staticmethod
    def _oversize(topic: str, stored: StoredMessage) -> ClientError | None:
        limit = BROKER_LIMIT + (EXTRA_BYTES if is_internal(topic) else 0)
        if _size(stored) <= limit:
            return None
        return ClientError(ClientError.MSG_SIZE_TOO_LARGE, "Broker: Message size too large")


class MemoryClient:
    """What `elsa.producer.Producer` needs of a client, over a MemoryLog; every report comes at once."""

    served = 0
    failure = None

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def produce(  # noqa: PLR0917 - the client's signature
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None,
        partition: int,
        callback: Callable[[ClientError | None, Any], None],
        _: None,
        milliseconds: int,
        headers: list[tuple[str, bytes | None]] | None,
    ) -> None:
        data, name = _bytes(value), _bytes(key)
        if len(data or b"") > CLIENT_LIMIT:
            raise ClientException(ClientError(ClientError.MSG_SIZE_TOO_LARGE, "Local: Message size too large"))
        error, stored = self._log.append(topic, data, name, partition, milliseconds, headers)
        callback(error, Report(stored))

    def partition_count(self, topic: str, timeout: float) -> int:  # noqa: ARG002 - the client's signature
        return self._log.partition_count(topic)

    def pending(self) -> int:
        return 0

    def wait_for_room(self, served: int, timeout: float) -> bool:  # noqa: ARG002 - the client's signature
        return True

    def flush(self, timeout: float) -> int:  # noqa: ARG002 - the client's signature
        return 0

    def wait_ready(self, timeout: float) -> None: ...

    def purge(self) -> None: ...

    def stop(self) -> None: ...

    def abandon(self) -> None: ...


def _bytes(payload: bytes | str | None) -> bytes | None:
    return payload.encode() if isinstance(payload, str) else payload


def _size(stored: StoredMessage) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in stored.headers() or ())
    return len(stored) + len(stored.key() or b"") + headers
