"""Which delayed messages are cancelled: written by `App.cancel`, read by every mover before it lets anything go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa import headers as names
from elsa.errors import FatalClientError
from elsa.kafka.consumer import BEGINNING, GroupConsumer
from elsa.kafka.events import Event, classify, event_error
from elsa.message import TopicPartition
from elsa.names import cancelled_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from elsa.clock import Clock
    from elsa.config import Settings

#: a key that is nobody's id: the mover asks by it for the broker's time
CLOCK_KEY = b"~clock"
#: how often cancellations whose time is over are forgotten
_FORGET_SECONDS = 600.0


class Cancelled:
    """A table of ids, read from the beginning at `open` and kept up by `read`; belongs to the mover's thread.

    It holds every cancellation whose time is not over: about 150 bytes each.
    """

    def __init__(
        self, settings: Settings, clock: Clock, make_consumer: Callable[..., GroupConsumer] = GroupConsumer
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._make_consumer = make_consumer
        self.topic = cancelled_topic(settings.name)
        self._until: dict[str, float] = {}
        self._forgets_at = 0.0
        self._partitions = 0
        self._open_ends: set[TopicPartition] = set()
        self._consumer: GroupConsumer | None = None

    def __len__(self) -> int:
        return len(self._until)

    @property
    def is_complete(self) -> bool:
        """Whether everything has been read that was there at `open`, and in partitions that were added since."""
        return self._consumer is not None and not self._open_ends

    def open(self, partitions: int) -> None:
        """Begin to read all that is there; `read` until it `is_complete`."""
        self._until.clear()
        # A mover that dies while it asks for the time leaves a transaction open here, which must not hide what comes
        # behind it. What it has written means nothing, and cancellations are written without one.
        self._consumer = self._make_consumer(self._settings, None, is_committed_only=False)
        self._partitions = 0
        self._open_ends.clear()
        self.grow(partitions)

    def grow(self, partitions: int) -> None:
        """The topic has so many partitions now: those that are new are read from their beginning."""
        assert self._consumer is not None
        fresh = [TopicPartition(self.topic, number) for number in range(self._partitions, partitions)]
        if fresh:
            self._partitions = partitions
            self._open_ends.update(fresh)
            self._consumer.assign(dict.fromkeys(fresh, BEGINNING))

    def read(self, timeout: float = 0.0) -> None:
        """Take what has come since; waits at most so long for the first of it. Raises when it may not be read."""
        assert self._consumer is not None
        while raws := self._consumer.poll(timeout):
            timeout = 0.0
            for raw in raws:
                if raw.error() is None:
                    self._take(raw)
                else:
                    self._event(raw, self._consumer)
        now = self._clock.now()
        if now >= self._forgets_at:
            self._forgets_at = now + _FORGET_SECONDS
            self._until = {key: until for key, until in self._until.items() if until > now}

    def _event(self, raw: Any, consumer: GroupConsumer) -> None:
        kind = classify(raw, has_group=False)
        if kind == Event.END_OF_PARTITION:
            self._open_ends.discard(TopicPartition(raw.topic(), raw.partition()))
        elif kind == Event.OUT_OF_RANGE:
            consumer.reassign(TopicPartition(raw.topic(), raw.partition()), BEGINNING)
        elif kind == Event.REBUILD:
            raise FatalClientError(f"the Kafka client that reads {self.topic} is beyond repair: {raw.error().str()}")
        elif kind == Event.REFUSED:
            # without them nothing may be let go
            raise event_error(raw, self._settings, None)

    def _take(self, raw: Any) -> None:
        key = (raw.key() or b"").decode(errors="replace")
        if raw.value() is None:
            self._until.pop(key, None)
            return
        try:
            until = float(names.text(raw.headers(), names.EXPIRES_AT) or "")
        except ValueError:
            # written by somebody else: it holds as long as it lies there
            until = float("inf")
        # by this machine's clock, as those who cancel write it by theirs: the times are days
        if until > self._clock.now():
            self._until[key] = until
        else:
            self._until.pop(key, None)

    def has(self, headers: Iterable[tuple[str, bytes | None]]) -> bool:
        """Whether the message with these headers is cancelled."""
        if not self._until:
            return False
        found = names.text(headers, names.ID)
        return found is not None and self._until.get(found, 0.0) > self._clock.now()

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()
