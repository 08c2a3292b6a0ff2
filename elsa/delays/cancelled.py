"""Which delayed messages are cancelled: written by `App.cancel`, read by every mover before it lets anything go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa import headers as names
from elsa.errors import ElsaError
from elsa.kafka.consumer import BEGINNING, GroupConsumer
from elsa.kafka.events import Event, classify
from elsa.message import TopicPartition
from elsa.names import cancelled_topic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from elsa.app import App
    from elsa.clock import Clock

#: a key that is nobody's id: the mover asks by it for the broker's time
CLOCK_KEY = b"~clock"
#: how often cancellations whose time is over are forgotten
_FORGET_SECONDS = 600.0
_OPEN_SECONDS = 30.0


class Cancelled:
    """A table of ids, read from the beginning at `open` and kept up by `read`; belongs to the mover's thread."""

    def __init__(self, app: App, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._topic = cancelled_topic(app.name)
        self._until: dict[str, float] = {}
        self._forgets_at = 0.0
        self._consumer: GroupConsumer | None = None

    def __len__(self) -> int:
        return len(self._until)

    def open(self) -> None:
        """Read all that is there; raises what the broker says."""
        self._until.clear()
        count = self._app.topics.partition_count(self._topic)
        consumer = self._consumer = GroupConsumer(self._app.settings, None)
        partitions = [TopicPartition(self._topic, number) for number in range(count)]
        consumer.assign(dict.fromkeys(partitions, BEGINNING))
        open_ends = set(partitions)
        end = self._clock.monotonic() + _OPEN_SECONDS
        while open_ends:
            if self._clock.monotonic() > end:
                raise ElsaError(f"the cancellations in {self._topic} could not be read to their end")
            for raw in consumer.poll(0.1):
                if raw.error() is None:
                    self._take(raw)
                elif classify(raw) == Event.END_OF_PARTITION:
                    open_ends.discard(TopicPartition(raw.topic(), raw.partition()))

    def read(self) -> None:
        """Take what has come since; never waits."""
        assert self._consumer is not None
        while raws := self._consumer.poll(0.0):
            for raw in raws:
                if raw.error() is None:
                    self._take(raw)
        now = self._clock.now()
        if now >= self._forgets_at:
            self._forgets_at = now + _FORGET_SECONDS
            self._until = {key: until for key, until in self._until.items() if until > now}

    def _take(self, raw: Any) -> None:
        key = (raw.key() or b"").decode(errors="replace")
        if raw.value() is None:
            self._until.pop(key, None)
            return
        try:
            self._until[key] = float(names.text(raw.headers(), names.EXPIRES_AT) or "")
        except ValueError:
            # written by somebody else: it holds as long as it lies there
            self._until[key] = float("inf")

    def has(self, headers: Iterable[tuple[str, bytes | None]]) -> bool:
        """Whether the message with these headers is cancelled."""
        found = names.text(headers, names.ID)
        return found is not None and self._until.get(found, 0.0) > self._clock.now()

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()
