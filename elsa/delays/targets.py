"""Whether the topics that delayed messages are for can take them: asked before a transaction that would hang on one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from elsa.errors import UnknownTopic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from elsa.clock import Clock
    from elsa.kafka.admin import Writable

#: how long an answer holds: a topic that is deleted within that time costs an aborted transaction
KNOWN_SECONDS = 1.0
#: how long a topic is left alone that did not take a message in time
AVOIDED_SECONDS = 30.0
#: of so many topics the answers are kept
MOST_TOPICS = 10_000


class Asks(Protocol):
    """What is asked: `elsa.topics.Topics`."""

    def writable(self, names: Iterable[str]) -> Mapping[str, Writable]:
        """What each of these topics can take."""
        ...


class Targets:
    """What topics can take, remembered for a moment; belongs to the mover's thread."""

    def __init__(self, topics: Asks, clock: Clock) -> None:
        self._topics = topics
        self._clock = clock
        self._known: dict[str, tuple[Writable, float]] = {}
        self._avoided: dict[str, tuple[str, float]] = {}

    def look_up(self, topics: Iterable[str]) -> None:
        """Ask for all of them that are not known, in one request; raises when no broker answers."""
        now = self._clock.monotonic()
        fresh = {topic for topic in topics if topic not in self._known or self._known[topic][1] <= now}
        if not fresh:
            return
        if len(self._known) > MOST_TOPICS:
            self._known = {topic: self._known[topic] for topic in set(topics) - fresh}
        found = self._topics.writable(sorted(fresh))
        until = self._clock.monotonic() + KNOWN_SECONDS
        self._known |= {topic: (answer, until) for topic, answer in found.items()}

    def partitions(self, topic: str) -> int:
        """How many partitions it has, 0 where that is not known; the topic has been looked up."""
        return self._known[topic][0].partitions

    def refusal(self, topic: str) -> str | None:
        """Why a message may not go there, None when it may; the topic has been looked up."""
        answer, _ = self._known[topic]
        if answer.refusal is None or answer.refusal.retryable or isinstance(answer.refusal, UnknownTopic):
            return None
        return str(answer.refusal)

    def absence(self, topic: str, partition: int | None) -> str | None:
        """What of it is not there, None when it is: for now, since a broker may not have heard of what is new."""
        answer, _ = self._known[topic]
        if isinstance(answer.refusal, UnknownTopic):
            return str(answer.refusal)
        if answer.refusal is None and partition is not None and partition >= answer.partitions:
            return f"topic {topic!r} has no partition {partition}, only 0..{answer.partitions - 1}"
        return None

    def obstacle(self, topic: str, partition: int | None) -> str | None:
        """Why a message cannot go there now, None when it can; asked after `refusal` and `absence`."""
        answer, _ = self._known[topic]
        if answer.refusal is not None:
            return str(answer.refusal)
        if answer.leaderless and (partition is None or partition in answer.leaderless):
            return f"topic {topic!r} has no leader for partition {min(answer.leaderless)}"
        why, until = self._avoided.get(topic, ("", 0.0))
        if until > self._clock.monotonic():
            return why
        return None

    def avoid(self, topic: str, why: str, seconds: float = AVOIDED_SECONDS) -> None:
        """Leave a topic alone for a while: it did not take a message in time."""
        self._avoided = {one: kept for one, kept in self._avoided.items() if kept[1] > self._clock.monotonic()}
        self._avoided[topic] = why, self._clock.monotonic() + seconds

    def forget(self) -> None:
        """Something was refused that these answers had promised: ask again."""
        self._known.clear()
