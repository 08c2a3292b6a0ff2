"""Which topics a group reads and what serves each: those that its handlers name, and beside each its retry topic.

Owned by the group manager's thread.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from elsa.names import retry_topic
from elsa.registry import route

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from elsa.message import TopicPartition
    from elsa.registry import Binding

log = logging.getLogger("elsa.worker")


class Routes:
    """Of one group, or of one standalone handler (which has no retry topics)."""

    def __init__(self, bindings: Sequence[Binding], group: str | None) -> None:
        self._bindings = bindings
        self._group = group
        #: retry topic -> the topic whose messages come back through it
        self._sources: dict[str, str] = {}
        #: what was said of topics that a regex does not get
        self._left_out: set[str] = set()

    def learn(self, topics: Collection[str]) -> list[str]:
        """What to read, by the topics that exist: names (also of topics that do not), matches, their retry topics."""
        names = {binding.topic for binding in self._bindings if not binding.is_pattern}
        for binding in self._bindings:
            if binding.is_pattern:
                found = {topic for topic in topics if binding.matches(topic)}
                names |= found
                self._tell(binding, {topic for topic in topics if binding.means(topic)} - found)
        if self._group is not None:
            self._sources = {retry_topic(name, self._group): name for name in names}
        return sorted(names | (self._sources.keys() & set(topics)))

    def _tell(self, binding: Binding, left_out: set[str]) -> None:
        """Say once which topics a regex does not get; those of Kafka nobody misses."""
        new = {topic for topic in left_out - self._left_out if not topic.startswith("__")}
        if new:
            self._left_out |= new
            log.info(
                "topics that %s means are left out, their names are of Elsa's own: %s",
                binding.topic,
                ", ".join(sorted(new)),
                extra={
                    "event": "topics_left_out",
                    "handler": binding.name,
                    "topics": sorted(new),
                    "hint": "a handler that names a topic gets it, whatever it is called",
                },
            )

    def source(self, topic: str) -> str:
        """The topic whose messages these are: of a retry topic the one that they came from."""
        return self._sources.get(topic, topic)

    def is_retry(self, topic: str) -> bool:
        """Whether messages come back through this topic."""
        return topic in self._sources

    def binding(self, topic: str) -> Binding | None:
        """What serves a topic, None when nothing here does."""
        return route(self._bindings, self.source(topic))

    def served(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Binding]:
        """The bindings of these partitions; one that nobody here wants is logged and left out: it stays untouched."""
        found = {}
        for partition in partitions:
            binding = self.binding(partition.topic)
            if binding is not None:
                found[partition] = binding
                continue
            log.error(
                "assigned a partition of a topic without a handler: do the group's members run different code?",
                extra={
                    "event": "partition_without_handler",
                    "topic": partition.topic,
                    "partition": partition.partition,
                },
            )
        return found
