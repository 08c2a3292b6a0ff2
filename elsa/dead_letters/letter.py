"""One dead letter with its headers decoded, whoever wrote it; made by everything that reads dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from elsa import headers as names
from elsa.names import is_delay_topic
from elsa.policies.delay import UNDELIVERABLE, parse_target

if TYPE_CHECKING:
    from elsa.message import Headers, Message

#: why Elsa gives a message up
REASONS = ("exhausted", "rejected", "decode", "unknown", "timeout", "expired", "poison", UNDELIVERABLE)


class Origin(NamedTuple):
    """Where a message was when it died: its source, also when it had come back to a retry topic."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """`topic:partition:offset` read; None for anything else.

        >>> Origin.parse("orders:3:17")
        Origin(topic='orders', partition=3, offset=17)
        """
        topic, _, place = text.partition(":")
        found = parse_place(place)
        return cls(topic, *found) if topic and found is not None else None


def parse_place(text: str) -> tuple[int, int] | None:
    """`partition:offset` read; None for anything else.

    >>> parse_place("3:17")
    (3, 17)
    """
    parts = text.partition(":")
    partition, offset = names.number(parts[0]), names.number(parts[2])
    return None if partition is None or offset is None else (partition, offset)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up, as it lies on a dead-letter topic.

    What its headers do not say, or not readably, is None: messages of other programs lie on such topics, too.
    `reason` is one of REASONS, `error_type` the exception's `module.Class`, `attempt` how often it was tried,
    `is_handled` whether it was replayed or dropped.
    """

    message: Message
    origin: Origin | None = None
    id: str | None = None
    handler: str | None = None
    reason: str | None = None
    attempt: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None
    is_handled: bool = False

    @classmethod
    def of(cls, message: Message, *, is_handled: bool = False) -> DeadLetter:
        """A message read as a dead letter."""
        # the last of several headers counts, as in `Message.header`
        found = dict(message.headers)
        origin = _text(found.get(names.ORIGIN))
        return cls(
            message,
            Origin.parse(origin) if origin else None,
            _text(found.get(names.ID)),
            _text(found.get(names.HANDLER)),
            _text(found.get(names.REASON)),
            names.number(_text(found.get(names.ATTEMPT))),
            _text(found.get(names.ERROR_TYPE)),
            _text(found.get(names.ERROR_MESSAGE)),
            _text(found.get(names.TRACEBACK)),
            is_handled,
        )

    @property
    def topic(self) -> str:
        """The dead-letter topic."""
        return self.message.topic

    @property
    def partition(self) -> int:
        return self.message.partition

    @property
    def offset(self) -> int:
        return self.message.offset

    @property
    def place(self) -> str:
        """`partition:offset`, by which commands and `DeadLetters.get` find it."""
        return f"{self.message.partition}:{self.message.offset}"

    @property
    def key(self) -> bytes | None:
        return self.message.key

    @property
    def value(self) -> bytes | None:
        return self.message.value

    @property
    def headers(self) -> Headers:
        return self.message.headers

    @property
    def is_delayed(self) -> bool:
        """Whether it was on its way through the delay topics to a topic that did not take it: nobody has tried it."""
        return self.reason == UNDELIVERABLE and self.origin is not None and is_delay_topic(self.origin.topic)

    @property
    def target(self) -> tuple[str, int | None] | None:
        """The topic, and the partition if one was chosen, that a delayed message was for; None where nothing says."""
        return parse_target(names.text(self.headers, names.TARGET) or "")

    @property
    def timestamp(self) -> float | None:
        """When it died, in seconds since the epoch."""
        return self.message.timestamp


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
