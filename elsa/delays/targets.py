"""Whether delayed messages can go where they are to: asked before a transaction that would hang on one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.errors import ElsaError, UnknownTopic

if TYPE_CHECKING:
    from elsa.app import App
    from elsa.clock import Clock

#: a topic that is there is not asked for again before this time, one that is missing soon
KNOWN_SECONDS = 30.0
MISSING_SECONDS = 1.0


class Targets:
    """What is known of target topics, remembered for a while; belongs to the mover's thread."""

    def __init__(self, app: App, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._asks_rights = False
        #: topic -> (its partitions or why there are none, until when that is believed)
        self._known: dict[str, tuple[int | str, float]] = {}

    def doubt(self) -> None:
        """The broker has refused a topic without saying which: from now on each is asked if it may be written."""
        self._asks_rights = True
        self._known.clear()

    def missing(self, topic: str, partition: int | None) -> str | None:
        """Why a message cannot go there, None when it can; a retry topic is made on the way."""
        found = self._look(topic)
        if partition is not None and isinstance(found, int) and partition >= found:
            # it may have grown since; what is buried now would never come back
            found = self._look(topic, afresh=True)
        if isinstance(found, str):
            return found
        if partition is not None and partition >= found:
            return f"topic {topic!r} has no partition {partition}, only 0..{found - 1}"
        return None

    def _look(self, topic: str, *, afresh: bool = False) -> int | str:
        now = self._clock.monotonic()
        found, until = self._known.get(topic, (0, -1.0))
        if now < until and not afresh:
            return found
        try:
            found = self._ask(topic)
        except UnknownTopic:
            found = f"topic {topic!r} does not exist"
        except ElsaError as error:
            if getattr(error, "retryable", False):
                raise
            found = str(error)
        if len(self._known) > 1_000:
            self._known.clear()
        self._known[topic] = found, now + (MISSING_SECONDS if isinstance(found, str) else KNOWN_SECONDS)
        return found

    def _ask(self, topic: str) -> int | str:
        topics = self._app.topics
        if self._asks_rights and not topics.may_write(topic):
            return f"an ACL is missing: this client needs Write on topic {topic!r}"
        return topics.partition_count(topic)
