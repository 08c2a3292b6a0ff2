"""Which partition a message goes to, by what is known of its topic; kept by the producer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.errors import BrokerUnavailable, UnknownPartition, UnknownTopic
from elsa.partitioners import choose, murmur2, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.config import Settings
    from elsa.kafka.producer import ProducerClient
    from elsa.partitioners import Partitioner
    from elsa.records import Payload

    Rule = str | Callable[[bytes | None, int], int]

log = logging.getLogger("elsa.producer")

#: how long the first send to a topic asks for its metadata
METADATA_SECONDS = 5.0
#: how long sends go unchecked into the buffer after no broker has answered
UNCHECKED_SECONDS = 30.0
#: the partition that leaves the choice to the client: murmur2 of the key, any one without a key
ANY = -1


class Partitions:
    """The partitions of the topics that are sent to, as the brokers count them; every method from any thread.

    Two threads may look a topic up at once, which costs a question. `connected` gives the client, and raises
    NotStarted when there is to be none.
    """

    def __init__(self, settings: Settings, connected: Callable[[], ProducerClient]) -> None:
        self._settings = settings
        self._connected = connected
        self._rule = _python_rule(settings.partitioner)
        #: topic -> (partitions, when they were counted); topics without an entry are looked up first
        self._counts: dict[str, tuple[int, float]] = {}
        #: those that need no look-up and no rule applied here (all, unless the App has a rule of its own)
        self.simple = self._counts if self._rule is None else {}
        #: topic -> until when it goes unchecked, after no broker answered
        self._unchecked: dict[str, float] = {}

    def of(
        self, topic: str, key: Payload | None, partition: int | None, partitioner: Rule | None, *, strict: bool = True
    ) -> int:
        """The partition to send to, or ANY to leave it to the client (murmur2); looks the topic up if needed.

        Without `strict`, a topic that no broker could be asked about is left to the client too. Raises UnknownTopic,
        UnknownPartition, BrokerUnavailable and NotStarted.
        """
        rule = self._rule if partitioner is None else _python_rule(partitioner)
        if partition is not None:
            return self._checked(topic, partition)
        if rule is not None:
            count = self.count(topic, self._settings.metadata_refresh)
            return choose(rule, key.encode() if isinstance(key, str) else key, count)
        if topic not in self._counts and (strict or self._unchecked.get(topic, 0.0) < SYSTEM.monotonic()):
            self._look_up(topic, strict=strict)
        else:
            self._connected()
        return ANY

    def count(self, topic: str, max_age: float | None = None) -> int:
        """The topic's number of partitions, asked for again when it is older than `max_age` seconds."""
        known = self._counts.get(topic)
        now = SYSTEM.monotonic()
        if known is not None and (max_age is None or now - known[1] < max_age):
            return known[0]
        client = self._connected()
        try:
            count = client.partition_count(topic, METADATA_SECONDS)
        except BrokerUnavailable:
            if known is None:
                raise
            count = known[0]
        except UnknownTopic:
            self.forget(topic)
            raise
        self._counts[topic] = (count, SYSTEM.monotonic())
        return count

    def forget(self, topic: str) -> None:
        """Look it up again before the next message."""
        self._counts.pop(topic, None)

    def clear(self) -> None:
        """Forget all of them."""
        self._counts.clear()

    def _checked(self, topic: str, partition: int) -> int:
        count = self.count(topic)
        if partition >= count:
            count = self.count(topic, max_age=0.0)
        if not 0 <= partition < count:
            raise UnknownPartition(
                f"topic {topic!r} has no partition {partition}, only 0..{count - 1}",
                code="_UNKNOWN_PARTITION",
                topic=topic,
                partition=partition,
            )
        return partition

    def _look_up(self, topic: str, *, strict: bool) -> None:
        try:
            self.count(topic)
        except BrokerUnavailable:
            if strict:
                raise
            self._unchecked[topic] = SYSTEM.monotonic() + UNCHECKED_SECONDS
            log.warning(
                "no broker answers: messages wait in the buffer", extra={"event": "producer_unchecked", "topic": topic}
            )


def _python_rule(partitioner: Rule) -> Partitioner | None:
    """The rule to apply here; None for murmur2, which the client applies itself."""
    rule = resolve(partitioner)
    return None if rule is murmur2 else rule
