"""Deletes from the delay topics what has been moved, since they keep everything; used by the mover's session."""

from __future__ import annotations

import logging
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any, Protocol

from elsa.errors import AuthorizationFailed
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
    """`run` never waits: a request that has not been answered when the next one is due holds that one back."""

    def __init__(self, topics: Deletes, facts: Mapping[str, Any]) -> None:
        self._topics = topics
        #: of every error, see elsa.kafka.errors.facts_of
        self._facts = facts
        self._trimmed: dict[TopicPartition, int] = {}
        self._asked: dict[TopicPartition, tuple[int, Future[Any]]] = {}

    def run(self, bases: Mapping[TopicPartition, int]) -> None:
        """Note what was deleted since, and ask for what lies below these offsets and is there still."""
        self._hear()
        wanted = {
            where: base
            for where, base in bases.items()
            if base > self._trimmed.get(where, 0) and where not in self._asked
        }
        if wanted:
            futures = self._topics.begin_trim(wanted, timeout=TIMEOUT_SECONDS)
            self._asked |= {where: (wanted[where], future) for where, future in futures.items()}

    def finish(self, bases: Mapping[TopicPartition, int], timeout: float) -> None:
        """As `run`, and wait for the answers: a broker forgets the offsets of a group that is away for long.

        The next mover begins at the first message that is still there, then.
        """
        self._asked.clear()
        self.run(bases)
        wait([future for _, future in self._asked.values()], timeout)
        self._hear()

    def _hear(self) -> None:
        for where, (base, future) in list(self._asked.items()):
            if future.done():
                del self._asked[where]
                self._note(where, base, future)

    def _note(self, where: TopicPartition, base: int, future: Future[Any]) -> None:
        failure = future.exception()
        if failure is None:
            self._trimmed[where] = base
            return
        error = translate(failure, **self._facts, topic=where.topic, operation="Delete")
        # a broker that is busy is asked again
        is_forbidden = isinstance(error, AuthorizationFailed)
        log.log(
            logging.WARNING if is_forbidden else logging.INFO,
            "moved messages were not deleted%s: %s",
            ", and come again if no worker runs for 7 days" if is_forbidden else "",
            error,
            extra={"event": "delay_trim_failed", "topic": where.topic, "limit": ("trim", where.topic)},
        )

    def forget(self, where: TopicPartition) -> None:
        """The partition is somebody else's now."""
        self._trimmed.pop(where, None)
