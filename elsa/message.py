"""What is produced (Record, RecordMetadata) and what was consumed (Message): plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Headers = tuple[tuple[str, bytes | None], ...]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True)
class Record:
    """A message to produce: `value` and `key` are bytes or str, `None` as value is a tombstone.

    `headers` is a mapping or a sequence of pairs (order and duplicates are kept), `timestamp` seconds
    since the epoch, `partition` wins over any partitioner.

    >>> Record(b"v", key="k", headers=[("trace", b"1")]).key
    'k'
    """

    value: bytes | str | None
    key: bytes | str | None = None
    headers: object = ()
    timestamp: float | None = None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class RecordMetadata:
    """Where a delivered record lies; `timestamp` in seconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp: float | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A consumed message: bytes as they lie in the log, `None` told apart from `b""`.

    `timestamp` is in seconds since the epoch, `timestamp_type` is "create", "append" or "none",
    `generation` the consumer group's generation at delivery (`None` outside a group). A message that came back
    through a retry topic shows the place and time of its origin; `retry_offset` is its offset in that topic.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: float | None = None
    timestamp_type: str = "none"
    generation: int | None = None
    leader_epoch: int | None = None
    retry_offset: int | None = None

    def header(self, name: str) -> bytes | None:
        """The last header of that name, or None."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None
