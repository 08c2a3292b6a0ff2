"""Deletes from the delay topics what has been moved, since they keep everything; used by the mover's session."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from elsa.kafka.errors import translate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from elsa.message import TopicPartition

log = logging.getLogger("elsa.delays")

TIMEOUT_SECONDS = 10.0


class Deletes(Protocol):
    """What deletes: `elsa.topics.Topics`."""

    def begin_trim(
        self, before: Mapping[TopicPartition, int], *, timeout: float
    ) -> Mapping[TopicPartition, Future[Any]]:
        """Ask for everything below these offsets to be deleted; a future for each."""
        ...


class Trimming:
    """Never waits: a request that has not been answered when the next one is due holds that one back."""

    def __init__(self, topics: Deletes) -> None:
        self._topics = topics
        self._trimmed: dict[TopicPartition, int] = {}
        self._asked: dict[TopicPartition, tuple[int, Future[Any]]] = {}

    def run(self, bases: Mapping[TopicPartition, int]) -> None:
        """Note what was deleted since, and ask for what lies below these offsets and is there still."""
        for where, (base, future) in list(self._asked.items()):
            if future.done():
                del self._asked[where]
                self._note(where, base, future)
        wanted = {
            where: base
            for where, base in bases.items()
            if base > self._trimmed.get(where, 0) and where not in self._asked
        }
        if wanted:
            futures = self._topics.begin_trim(wanted, timeout=TIMEOUT_SECONDS)
            self._asked |= {where: (wanted[where], future) for where, future in futures.items()}

    def _note(self, where: TopicPartition, base: int, future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            self._trimmed[where] = base
            return
        # an ACL is missing, or the broker is busy: it costs disk, not messages
        log.info(
            "moved messages were not deleted: %s",
            translate(error, topic=where.topic, operation="Delete"),
            extra={"event": "delay_trim_failed", "topic": where.topic, "limit": ("trim", where.topic)},
        )

    def forget(self, where: TopicPartition) -> None:
        """The partition is somebody else's now."""
        self._trimmed.pop(where, None)
