"""Reads and makes the topic that keeps which messages of a dead-letter topic are handled; used by DeadLetters.

It is a topic and not the committed offsets of a group, because those are deleted after a while (a week by default),
when nothing was committed meanwhile, and dead letters are kept for a month.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa import names
from elsa.dead_letters import marks
from elsa.errors import AuthorizationFailed, KafkaError, TopicError, UnknownTopic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.dead_letters.marks import Marks
    from elsa.fetcher import Fetcher
    from elsa.topics import Topics

#: the last state of each record is kept for ever; segments are short, so that the states before it go
CONFIG = {"cleanup.policy": "compact", "segment.ms": str(24 * 3600 * 1000)}


class Ledger:
    """The marks of one dead-letter topic; `name` is the topic that holds them, and the transactional id."""

    def __init__(self, topic: str, *, topics: Topics, fetcher: Fetcher) -> None:
        self.topic = topic
        self.name = names.handled_topic(topic)
        self._topics = topics
        self._fetcher = fetcher

    def load(self, ends: Mapping[int, int]) -> tuple[str, dict[int, Marks]]:
        """The id of the dead-letter topic and the marks of its partitions, none above the ends of the log.

        Raises KafkaError when the records are not Elsa's, UnknownTopic when there is no such dead-letter topic.
        """
        topic_id = self._topics.id(self.topic)
        try:
            found = marks.read(topic_id, ((one.key, one.value) for one in self._fetcher.stream(self.name)))
        except UnknownTopic:
            found = {}
        except ValueError as error:
            raise KafkaError(
                f"topic {self.name!r} keeps which dead letters are handled, and cannot be read: {error}",
                topic=self.name,
                hint=f"use the newest Elsa, or delete it (`elsa topics delete {self.name}`): all are open again then",
            ) from error
        return topic_id, {partition: found.get(partition, marks.Marks()).until(end) for partition, end in ends.items()}

    def require(self, *, creates: bool) -> None:
        """Make the topic when it is missing; raises UnknownTopic when nobody wants that, TopicError for a wrong one."""
        if not self._topics.exists(self.name):
            if not creates:
                raise UnknownTopic(
                    f"topic {self.name!r}, which keeps the dead letters that are handled, does not exist",
                    topic=self.name,
                    hint="--create (create=True) makes it, or: "
                    f"elsa topics create {self.name} --partitions 1 --config cleanup.policy=compact",
                )
            self._topics.create(self.name, partitions=1, config=CONFIG, exist_ok=True)
        try:
            policy = self._topics.describe(self.name).config.get("cleanup.policy", "compact")
        except AuthorizationFailed:
            return  # not a right that is needed
        if policy != "compact":
            raise TopicError(
                f"topic {self.name!r} would forget which dead letters are handled: its cleanup.policy is {policy!r}",
                topic=self.name,
                hint=f"elsa topics alter {self.name} cleanup.policy=compact",
            )
