"""Which messages of a partition were handled before, by their ids: `idempotent_by`.

The ids lie on a topic beside the source, partition by partition, and are loaded before the first delivery. A message is
over when Kafka has its id.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from elsa import headers as names
from elsa.names import seen_topic
from elsa.policies.backoff import Backoff
from elsa.worker.mailbox import Loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.message import Message
    from elsa.worker.assigned import Assigned

log = logging.getLogger("elsa.worker")

#: of a partition so many ids are known, for so long
MOST_IDS = 10_000
SECONDS = 24 * 3600.0
#: How soon a message looks again whether another one with its id, which is under way, has been handled: mostly that one
#: has returned and only waits until Kafka has its id. One that takes longer is looked at less often.
BUSY_SECONDS, LONG_SECONDS = 0.02, 0.2
_CONFIG = {
    "cleanup.policy": "compact,delete",
    "retention.ms": str(int(SECONDS * 1000)),
    "segment.ms": str(3600 * 1000),
}


class Seen:
    """Of one assignment of one partition; the lock of its partition worker guards it."""

    def __init__(self, topic: str, partition: int, by: str | Callable[[Message], Any], clock: Clock) -> None:
        self.topic = topic
        self.partition = partition
        self._by = by
        self._clock = clock
        self._done: OrderedDict[bytes, float] = OrderedDict()
        #: offsets of messages that are under way by their ids, with the time since when; and the other way round
        self._claims: dict[bytes, tuple[int, float]] = {}
        self._ids: dict[int, bytes] = {}

    def identify(self, message: Message) -> bytes | None:
        """The id of a message, None for one that has none; raises what the user's function raises."""
        found = message.header(names.ID) if self._by == "id" else self._by(message)  # type: ignore[operator]  # callable
        if found is None or isinstance(found, bytes):
            return found
        return str(found).encode()

    def is_done(self, id_: bytes) -> bool:
        """Whether a message with this id was handled."""
        at = self._done.get(id_)
        return at is not None and self._clock.now() - at < SECONDS

    def claim(self, id_: bytes, offset: int) -> bool:
        """Whether this message is the one of its id that runs."""
        claim = self._claims.get(id_)
        if claim is not None and claim[0] != offset:
            return False
        self._ids[offset] = id_
        self._claims[id_] = offset, self._clock.monotonic()
        return True

    def patience(self, id_: bytes) -> float:
        """Seconds until a message whose id is under way looks again."""
        _, since = self._claims[id_]
        return BUSY_SECONDS if self._clock.monotonic() - since < LONG_SECONDS else LONG_SECONDS

    def claimed(self, offset: int) -> bytes | None:
        """The id of a message that runs."""
        return self._ids.get(offset)

    def settle(self, offset: int) -> None:
        """The message was handled, and Kafka knows."""
        id_ = self._ids.get(offset)
        if id_ is not None:
            self.add(id_, self._clock.now())

    def release(self, offsets: Iterable[int]) -> None:
        """These messages are over."""
        for offset in offsets:
            id_ = self._ids.pop(offset, None)
            if id_ is not None:
                self._claims.pop(id_, None)

    def restart(self) -> None:
        """A new worker begins: nothing is under way."""
        self._claims.clear()
        self._ids.clear()

    def add(self, id_: bytes, at: float) -> None:
        self._done.pop(id_, None)
        self._done[id_] = at
        while len(self._done) > MOST_IDS:
            self._done.popitem(last=False)

    def __len__(self) -> int:
        return len(self._done)


class Refused:
    """A send of an id that could not even be begun, for those who wait for sends."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def exception(self) -> BaseException:
        return self._error

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)


def of(assigned: Assigned, clock: Clock) -> Seen | None:
    """What is to be loaded for a partition; None where its handler does not ask for it."""
    by = assigned.binding.first.declared.idempotent_by
    group = assigned.binding.group
    if by is None or group is None:
        return None
    return Seen(seen_topic(assigned.source, group), assigned.partition.partition, by, clock)


class Loading:
    """Reads the ids of one partition, again and again until that succeeds; on the settlement's thread.

    It ends when `is_ours` says that the partition has gone.
    """

    def __init__(
        self,
        app: App,
        assigned: Assigned,
        seen: Seen,
        later: Callable[..., None],
        post: Callable[[Any], None],
        *,
        is_ours: Callable[[], bool],
    ) -> None:
        self._app = app
        self._assigned = assigned
        self._seen = seen
        self._later = later
        self._post = post
        self._is_ours = is_ours
        self._backoff = Backoff(first=0.5, most=30.0)

    def start(self) -> None:
        self._later(0, self._run)

    def _run(self) -> None:
        if not self._is_ours():
            return
        try:
            self._make_topic()
            for id_, at in self._read():
                self._seen.add(id_, at)
        except Exception as error:  # border: nothing may run before it is known what was handled
            pause = self._backoff.next()
            log.warning(
                "the ids of handled messages could not be loaded, their partition waits",
                extra={
                    "event": "seen_not_loaded",
                    "topic": self._seen.topic,
                    "partition": self._seen.partition,
                    "error": str(error),
                    "retry_in_seconds": round(pause, 1),
                },
            )
            self._later(pause, self._run)
            return
        self._post(Loaded(self._assigned, self._seen))

    def _make_topic(self) -> None:
        topics, name, source = self._app.topics, self._seen.topic, self._assigned.source
        count = topics.partition_count(source)
        if not topics.exists(name):
            topics.create(name, partitions=count, config=_CONFIG, exist_ok=True)
        elif topics.partition_count(name) < count:
            # the source has grown since
            topics.add_partitions(name, count)

    def _read(self) -> list[tuple[bytes, float]]:
        """The last ids, oldest first."""
        fetcher, name, number = self._app.fetcher, self._seen.topic, self._seen.partition
        end = self._app.topics.watermarks(name)[number][1]
        found = fetcher.stream(name, partitions=number, start=max(0, end - 2 * MOST_IDS))
        oldest = self._seen._clock.now() - SECONDS
        ids = [(m.key, m.timestamp or 0.0) for m in found if m.key is not None and m.value is not None]
        return [(id_, at) for id_, at in ids if at >= oldest][-MOST_IDS:]
