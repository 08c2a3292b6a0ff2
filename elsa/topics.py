"""Lists, creates, describes, alters and deletes topics; called by App, worker and command line."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from elsa import names
from elsa.clock import SYSTEM
from elsa.errors import BrokerUnavailable, KafkaError, TopicError, TopicExists, UnknownTopic
from elsa.kafka.admin import TIMEOUT_SECONDS, Admin, PartitionInfo, Writable
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from concurrent.futures import Future

    from elsa.config import Settings

__all__ = ["PartitionInfo", "TopicDescription", "Topics"]

_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic: its partitions in order and every setting, defaults included."""

    name: str
    partitions: tuple[PartitionInfo, ...]
    config: Mapping[str, str]


class Topics:
    """The topics of a cluster. Methods may be called from any thread.

    Every one raises BrokerUnavailable within about 5 s when nobody answers, AuthorizationFailed naming the
    missing right, and TopicError with the broker's code and text for what it refuses.

    ```python
    app.topics.create("orders", partitions=6, config={"retention.ms": "604800000"})
    app.topics.list()                       # {"orders": 6}
    ```
    """

    def __init__(self, settings: Settings) -> None:
        self._admin = Admin(settings)
        self._app = settings.name

    def list(self, internal: bool = False) -> dict[str, int]:  # noqa: FBT001, FBT002 - the public form
        """Topics with their partition counts, by name; Kafka's and Elsa's own only with `internal`."""
        counts = self._admin.partition_counts()
        return {name: counts[name] for name in sorted(counts) if internal or not names.is_internal(name, self._app)}

    def exists(self, name: str) -> bool:
        """Whether there is such a topic; never creates it, and raises when nobody can say."""
        try:
            self._admin.partitions(name)
        except UnknownTopic:
            return False
        return True

    def create(
        self,
        name: str,
        *,
        partitions: int = 1,
        replicas: int | None = None,
        config: Mapping[str, object] | None = None,
        timeout: float = 10.0,
        wait: bool = True,
        exist_ok: bool = False,
    ) -> bool:
        """Create a topic and, with `wait`, return when it can be used: each partition has a leader that answers.

        False when it was there already.

        `replicas` None is the cluster's default. Raises TopicExists unless `exist_ok` (the existing topic
        stays as it is), TopicError for what the broker refuses, BrokerUnavailable after `timeout` seconds.
        """
        if partitions < 0:  # the broker would take -1 for its default, and it refuses 0 itself
            raise TopicError(
                f"topic {name!r} cannot have {partitions} partitions, only 1 or more",
                code="INVALID_PARTITIONS",
                topic=name,
            )
        text = {key: _text(value) for key, value in (config or {}).items()}
        start = SYSTEM.monotonic()
        is_new = True
        try:
            self._admin.create_topic(name, partitions, -1 if replicas is None else replicas, text, timeout)
        except TopicExists:
            if not exist_ok:
                raise
            is_new = False
        if wait:
            left = max(0.1, start + timeout - SYSTEM.monotonic())
            self._until(lambda: self._is_usable(name), left, f"topic {name!r} was created but is not usable yet", name)
        return is_new

    def delete(self, name: str, *, missing_ok: bool = False, timeout: float = 10.0, wait: bool = True) -> None:
        """Delete a topic with its messages and, with `wait`, return when it is gone from the metadata."""
        try:
            self._admin.delete_topic(name, timeout)
        except UnknownTopic:
            if not missing_ok:
                raise
            return
        if wait:
            self._until(lambda: not self.exists(name), timeout, f"topic {name!r} is deleted but still listed", name)

    def describe(self, name: str) -> TopicDescription:
        """The topic's partitions with leader, replicas and in-sync replicas, and its settings."""
        return TopicDescription(name, tuple(self._admin.partitions(name)), self._admin.topic_config(name))

    def alter(self, name: str, config: Mapping[str, object | None]) -> None:
        """Change the given settings and leave the others; None goes back to the default."""
        if not self.exists(name):
            raise UnknownTopic(f"topic {name!r} does not exist", code="UNKNOWN_TOPIC_OR_PART", topic=name)
        if config:
            self._admin.alter_topic_config(
                name, {key: None if value is None else _text(value) for key, value in config.items()}
            )

    def add_partitions(self, name: str, total: int, *, timeout: float = 10.0) -> None:
        """Raise the number of partitions to `total` and wait until they can be used.

        It can't be lowered again, and keys may move: their order across that moment is lost.
        """
        self._admin.add_partitions(name, total, timeout)
        self._until(
            lambda: self.partition_count(name) >= total and self._is_usable(name),
            timeout,
            f"topic {name!r} has new partitions that are not usable yet",
            name,
        )

    def delete_records(
        self, name: str, before: Mapping[int, int], *, timeout: float = TIMEOUT_SECONDS
    ) -> dict[int, int]:
        """Delete what lies below {partition: offset} for good; returns the first remaining offsets."""
        return self._admin.delete_records(name, before, timeout)

    def begin_trim(
        self, before: Mapping[TopicPartition, int], *, timeout: float = TIMEOUT_SECONDS
    ) -> dict[TopicPartition, Future[Any]]:
        """Like `delete_records` for partitions of many topics, without waiting: a future for each."""
        return self._admin.begin_delete_records(before, timeout)

    def writable(self, names: Iterable[str]) -> dict[str, Writable]:
        """What each of these topics can take, in one request; a topic that is missing is told, not raised."""
        return self._admin.writable(list(names))

    def unreadable(self, names: Iterable[str]) -> set[str]:
        """Those of these topics that this client may not read, in one request; a missing one is none of them."""
        return self._admin.unreadable(list(names))

    def partition_count(self, name: str) -> int:
        """How many partitions the topic has; raises UnknownTopic."""
        return len(self._admin.partitions(name))

    def id(self, name: str) -> str:
        """What tells a topic from an earlier or later one of its name; raises UnknownTopic."""
        return self._admin.topic_id(name)

    def watermarks(self, name: str) -> dict[int, tuple[int, int]]:
        """{partition: (first offset, end)}; the end is what a reader of committed messages can reach."""
        partitions = [TopicPartition(name, info.partition) for info in self._admin.partitions(name)]
        low = self._admin.offsets(partitions, "earliest")
        high = self._admin.offsets(partitions, "latest")
        return {each.partition: (low[each], high[each]) for each in partitions}

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The ends of partitions of any topics, in one request, without those that nobody can tell now."""
        return self._admin.ends(partitions)

    def offsets_at(self, name: str, moment: float) -> dict[int, int]:
        """{partition: the first offset at or after a time}; partitions without one are left out.

        The time is in seconds since the epoch.
        """
        partitions = [TopicPartition(name, info.partition) for info in self._admin.partitions(name)]
        found = self._admin.offsets(partitions, datetime.fromtimestamp(moment, UTC))
        return {where.partition: offset for where, offset in found.items() if offset >= 0}

    def _is_usable(self, name: str) -> bool:
        partitions = self._admin.partitions(name)
        if not partitions or any(info.leader is None for info in partitions):
            return False
        # a leader may be named before it has opened its log: only an answer from it counts
        self._admin.offsets([TopicPartition(name, info.partition) for info in partitions], "latest")
        return True

    def _until(self, holds: Callable[[], bool], timeout: float, otherwise: str, name: str) -> None:
        start = SYSTEM.monotonic()
        pause = threading.Event()
        problem: KafkaError | None = None
        while SYSTEM.monotonic() - start < timeout:
            with contextlib.suppress(UnknownTopic):
                try:
                    if holds():
                        return
                except KafkaError as error:
                    if not error.retryable and not isinstance(error, UnknownTopic):
                        raise
                    problem = error
            pause.wait(_LOOK_SECONDS)
        raise BrokerUnavailable(f"{otherwise} after {timeout:g} s: {problem or 'no leader'}", topic=name)


def _text(value: object) -> str:
    """A setting as Kafka writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
