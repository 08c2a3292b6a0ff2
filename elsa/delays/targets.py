"""Whether the topics that delayed messages are for exist: asked before a transaction that would hang on one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.errors import ElsaError

if TYPE_CHECKING:
    from elsa.app import App
    from elsa.clock import Clock

#: a topic that is there is not asked for again before this time, one that is missing soon
KNOWN_SECONDS = 30.0
MISSING_SECONDS = 1.0


class Targets:
    """Partition counts by topic, remembered for a while; belongs to the mover's thread."""

    def __init__(self, app: App, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._known: dict[str, tuple[int, float]] = {}

    def missing(self, topic: str, partition: int | None) -> str | None:
        """Why a message cannot go there, None when it can; a retry topic is made on the way."""
        count = self._count(topic)
        if partition is not None and 0 < count <= partition:
            # it may have grown since; what is buried now would never come back
            count = self._count(topic, afresh=True)
        if count == 0:
            return f"topic {topic!r} does not exist"
        if partition is not None and partition >= count:
            return f"topic {topic!r} has no partition {partition}, only 0..{count - 1}"
        return None

    def _count(self, topic: str, *, afresh: bool = False) -> int:
        now = self._clock.monotonic()
        count, until = self._known.get(topic, (0, -1.0))
        if now < until and not afresh:
            return count
        try:
            count = self._app.topics.partition_count(topic)
        except ElsaError as error:
            if getattr(error, "retryable", False):
                raise
            count = 0
        if len(self._known) > 1_000:
            self._known.clear()
        self._known[topic] = count, now + (KNOWN_SECONDS if count else MISSING_SECONDS)
        return count
