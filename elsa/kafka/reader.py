"""Reads partitions without a consumer group: one confluent_kafka Consumer that is assigned and never commits.

Made and closed by elsa.fetcher, one for each fetch, stream or follow.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as RawPartition
from confluent_kafka.cimpl import Consumer

from elsa.errors import AuthenticationFailed, ConfigError, ElsaError
from elsa.kafka.config import client_config
from elsa.kafka.consumer import to_message
from elsa.kafka.errors import ClientError, facts_of, translate
from elsa.kafka.events import Event, classify, event_error
from elsa.kafka.login import Login

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from elsa.config import Settings
    from elsa.message import Message, TopicPartition

log = logging.getLogger("elsa.kafka")

#: most messages that one turn takes from the client
SLICE = 500
#: about one batch of each partition; where batches are larger, the broker answers for one partition at a time
_ONE_EACH = {"fetch_message_max_bytes": 16_384, "queued_min_messages": 1}


@dataclass(frozen=True, slots=True)
class EndOfPartition:
    """The reader stands at `offset`, the end of the partition: past transaction markers and compacted tails."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class OutOfRange:
    """What was to be read at `offset` is not in the log any more."""

    topic: str
    partition: int
    offset: int


class Reader:
    """Reads the partitions it is given; one thread at a time. Close it, or use it in `with`.

    It leaves no consumer group behind: the client wants a group id, but without a subscription or a commit the broker
    never hears of it. `one_each` is for who wants only the first message of each partition: a fetch brings little more
    than that.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        prefetch_kilobytes: int = 16_384,
        wait_milliseconds: int = 500,
        one_each: bool = False,
        read_committed: bool = True,
    ) -> None:
        self._settings = settings
        self._fatal: ElsaError | None = None
        self._login = Login(settings)
        config = client_config(
            settings,
            "consumer",
            group_id=f"{settings.name}-reader",
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            enable_partition_eof=True,
            auto_offset_reset="error",
            isolation_level="read_committed" if read_committed else "read_uncommitted",
            queued_max_messages_kbytes=prefetch_kilobytes,
            fetch_wait_max_ms=wait_milliseconds,
            error_cb=self._on_error,
            **(_ONE_EACH if one_each else {}),
        )
        try:
            self._raw = Consumer(config)
        except KafkaException as error:
            raise ConfigError(f"the consumer's configuration is refused: {error.args[0].str()}") from error

    def _on_error(self, error: ClientError) -> None:
        self._login.hear(error)
        translated = translate(error, **facts_of(self._settings))
        if error.fatal() or isinstance(translated, AuthenticationFailed):
            self._fatal = translated

    def assign(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, and no others."""
        self._raw.assign([RawPartition(topic, partition, offset) for partition, offset in offsets.items()])

    def assign_all(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The same for partitions of several topics: one that is added later is fetched up to a second later."""
        self._raw.assign([RawPartition(*partition, offset) for partition, offset in offsets.items()])

    def add(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Read these partitions too."""
        self._raw.incremental_assign([RawPartition(topic, partition, offset) for partition, offset in offsets.items()])

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these no more; what was fetched of them is dropped."""
        self._raw.incremental_unassign([RawPartition(*each) for each in partitions])

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Go on elsewhere in a partition that is being read."""
        # librdkafka 2.16 refuses its own seek (_STATE) once an offset was out of range
        self._raw.incremental_unassign([RawPartition(topic, partition)])
        self._raw.incremental_assign([RawPartition(topic, partition, offset)])

    def read(self, timeout: float, limit: int = SLICE) -> list[Message | EndOfPartition | OutOfRange]:
        """What has arrived, waiting at most `timeout` seconds for the first; raises what can't heal."""
        self._login.tend(self._raw)
        # polling first: `consume` with a timeout waits all of it unless `limit` messages arrive
        first = self._raw.poll(timeout)
        if self._fatal is not None:
            raise self._fatal
        if first is None:
            return []
        raws = (first, *(self._raw.consume(limit - 1, 0) if limit > 1 else ()))
        return [event for raw in raws if (event := self._event(raw)) is not None]

    def _event(self, raw: Any) -> Message | EndOfPartition | OutOfRange | None:
        if raw.error() is None:
            return to_message(raw)
        kind = classify(raw, has_group=False)
        if kind == Event.END_OF_PARTITION:
            return EndOfPartition(raw.topic(), raw.partition(), raw.offset())
        if kind == Event.OUT_OF_RANGE:
            return OutOfRange(raw.topic(), raw.partition(), raw.offset())
        if kind in (Event.PASSING, Event.IGNORED):
            log.debug("the reader reports: %s", raw.error().str(), extra={"event": "reader_error"})
            return None
        raise event_error(raw, self._settings, None)

    def close(self) -> None:
        """End the client; idempotent."""
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
