"""Where a replayed dead letter goes: the retry topic of the group that failed, or a topic that a user names."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from elsa import names
from elsa.errors import AuthorizationFailed, ElsaError, UnknownTopic
from elsa.policies.dead_letter import EXTRA_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.dead_letters.letter import DeadLetter, Origin
    from elsa.groups import Groups
    from elsa.topics import Topics

#: what comes back waits as long for its workers as dead letters do for somebody to look at them
RETENTION_MILLISECONDS = 30 * 24 * 3600 * 1000


class Destination(NamedTuple):
    """A topic and a partition of it; None leaves that to the key."""

    topic: str
    partition: int | None


class NoWayBack(Exception):
    """Nobody would get this one back; the text says why and what to do."""


class Destinations:
    """Finds and, where that is wanted, makes the topics that dead letters are sent to; asks the cluster once for each.

    `to` sends all of them to one topic. Else the group is `group`, or what `handlers` (groups by handler, None for one
    without a group) say, or what the dead-letter topic is named by, if that group has committed something of the
    source. Delayed messages that could not be delivered go where they were to go. With `creates` missing retry topics
    are made, with `is_dry` they are only said to be missing.
    """

    def __init__(
        self,
        dead_letters: str,
        *,
        topics: Topics,
        groups: Groups,
        to: str | None = None,
        group: str | None = None,
        handlers: Mapping[str, str | None] | None = None,
        creates: bool = False,
        is_dry: bool = False,
    ) -> None:
        self._dead_letters = dead_letters
        self._topics = topics
        self._groups = groups
        self._to = to
        self._group = group
        self._handlers = handlers or {}
        self._creates = creates
        self._is_dry = is_dry
        self._counts: dict[str, int] = {}
        #: the retry topic, or why there is none, by topic and handler
        self._ways: dict[tuple[str, str | None], str | NoWayBack] = {}
        self.missing: set[str] = set()
        #: what somebody should know of the ways that were found
        self.warnings: list[str] = []

    def of(self, letter: DeadLetter) -> Destination:
        """Where this one goes; raises NoWayBack, UnknownTopic for a topic that may not be made."""
        if letter.is_delayed and self._to is None:
            return self._way_on(letter)
        origin = letter.origin
        topic = self._to or self._way_back(letter)
        count = self._count(topic, origin)
        # a topic that has its source's partitions: there it meets its key's company, wherever the key says it belongs
        is_twin = origin is not None and (self._to is None or topic == origin.topic)
        if origin is not None and is_twin and origin.partition < count:
            return Destination(topic, origin.partition)
        return Destination(topic, None)

    def require(self) -> None:
        """Raise UnknownTopic when the topic that the user has named does not exist."""
        if self._to is not None:
            self._count(self._to, None)

    # -- who gets it ---------------------------------------------------------------------------------

    def _way_on(self, letter: DeadLetter) -> Destination:
        if letter.target is None:
            raise NoWayBack(
                "they were delayed and do not say where to (no readable elsa-target): name a topic with --to"
            )
        topic, partition = letter.target
        if self._group is not None:
            raise NoWayBack(f"they were on their way to {topic!r}, and no group has failed: leave --group out")
        if letter.value is None:
            raise NoWayBack(
                f"they have no body, perhaps because it was too large to be kept: to send them to {topic!r} as they "
                f"are, say --to {topic}"
            )
        count = self._count(topic, None)
        return Destination(topic, partition if partition is not None and partition < count else None)

    def _way_back(self, letter: DeadLetter) -> str:
        origin = letter.origin
        if origin is None:
            raise NoWayBack("they do not say where they came from (no readable elsa-origin): name a topic with --to")
        place = origin.topic, letter.handler
        if place not in self._ways:
            try:
                self._ways[place] = names.retry_topic(origin.topic, self._group_of(origin.topic, letter.handler))
            except NoWayBack as reason:
                self._ways[place] = reason
        found = self._ways[place]
        if isinstance(found, NoWayBack):
            raise found
        return found

    def _group_of(self, topic: str, handler: str | None) -> str:
        if self._group is not None:
            self._doubt(topic, self._group)
            return self._group
        if handler is not None and handler in self._handlers:
            group = self._handlers[handler]
            if group is None:
                raise NoWayBack(f"their handler {handler} has no group, so no retry topic: name a topic with --to")
            return group
        group = self._group_by_name(topic)
        # a handler without a group has dead letters of the same name: with its app's in the group's place
        if not self._has_read(topic, group):
            raise NoWayBack(
                f"group {group!r} has committed nothing of topic {topic!r}, so nobody would get them back (a handler "
                "without a group has no retry topic): name a topic with --to, or the group with --group"
            )
        return group

    def _doubt(self, topic: str, group: str) -> None:
        """Warn when no group of the name that a user gives seems to read the topic."""
        with contextlib.suppress(AuthorizationFailed):  # not a right that is needed
            if group in self._handlers.values() or self._has_read(topic, group):
                return
            text = (
                f"group {group!r} has committed nothing of topic {topic!r}: nobody gets what is on "
                f"{names.retry_topic(topic, group)!r} unless that group has a worker"
            )
            if text not in self.warnings:
                self.warnings.append(text)

    def _has_read(self, topic: str, group: str) -> bool:
        return any(where.topic == topic for where in self._groups.committed(group))

    def _group_by_name(self, topic: str) -> str:
        head, tail = f"{names.legal(topic)}.", ".dlq"
        name = self._dead_letters
        if name.startswith(head) and name.endswith(tail) and len(name) > len(head + tail):
            group = name[len(head) : -len(tail)]
            if names.dead_letter_topic(topic, group, "") == name:
                return group
        raise NoWayBack(
            f"{name!r} does not say which group of {topic!r} they belong to: name it with --group, its app with "
            "--app, or a topic with --to"
        )

    # -- topics --------------------------------------------------------------------------------------

    def _count(self, topic: str, origin: Origin | None) -> int:
        if topic not in self._counts:
            try:
                self._counts[topic] = self._topics.partition_count(topic)
            except UnknownTopic:
                self._counts[topic] = self._make(topic, origin)
        return self._counts[topic]

    def _make(self, topic: str, origin: Origin | None) -> int:
        if self._to is not None or origin is None:
            other = "" if self._to is not None else ", or name another topic with --to"
            raise UnknownTopic(
                f"topic {topic!r} does not exist", topic=topic, hint=f"create it: `elsa topics create {topic}`{other}"
            )
        try:
            count = self._topics.partition_count(origin.topic)
        except UnknownTopic as error:
            raise UnknownTopic(
                f"topic {topic!r} does not exist, and {origin.topic!r}, whose partitions it would have, neither",
                topic=topic,
                hint=f"create {origin.topic!r} or {topic!r}, or name another topic with --to",
            ) from error
        if not self._creates:
            raise UnknownTopic(
                f"topic {topic!r}, by which they would come back to their group, does not exist",
                topic=topic,
                hint=f"--create (create=True) makes it, or: elsa topics create {topic} --partitions {count}",
            )
        self.missing.add(topic)
        if not self._is_dry:
            self._topics.create(topic, partitions=count, config=self._config(origin.topic), exist_ok=True)
        return count

    def _config(self, source: str) -> dict[str, str]:
        config = {"retention.ms": str(RETENTION_MILLISECONDS)}
        try:
            limit = self._topics.describe(source).config.get("max.message.bytes")
        except ElsaError:
            limit = None
        if limit is not None:
            config["max.message.bytes"] = str(int(limit) + EXTRA_BYTES)
        return config
