"""A group's consumer and membership over topics in memory; used by the harness's group managers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.kafka.consumer import BEGINNING, Committed
from elsa.kafka.membership import Proof
from elsa.message import TopicPartition
from elsa.worker import starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from elsa.errors import ElsaError
    from elsa.kafka.consumer import Commit
    from elsa.testing.log import MemoryLog, StoredMessage
    from elsa.worker.group import GroupManager

#: the generation that handlers of a group see
GENERATION = 1


class MemoryConsumer:
    """The methods of `elsa.kafka.consumer.GroupConsumer` that the engine uses, over a MemoryLog."""

    def __init__(
        self,
        log: MemoryLog,
        group: str | None,
        on_commit: Callable[[ElsaError | None, bool, list[TopicPartition]], None],
    ) -> None:
        self.log = log
        self._group = group
        self._on_commit = on_commit
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        #: topics that were there first: of a later one nothing can have been missed, so "latest" is its beginning
        self._known = set(log.counts())

    # -- messages ------------------------------------------------------------------------------------

    def _heads(self) -> list[StoredMessage]:
        """The next message of each partition that has one and is not paused."""
        return [
            messages[position]
            for where, position in self._positions.items()
            if where not in self._paused and position < len(messages := self.log.read(where))
        ]

    def next_sequence(self) -> int | None:
        """The place in the log of what `take` would give; None when there is nothing."""
        return min((one.sequence for one in self._heads()), default=None)

    def take(self, most: Callable[[TopicPartition], int]) -> list[StoredMessage]:
        """The oldest message that is waiting, with up to `most(partition)` of its partition."""
        first = min(self._heads(), key=lambda one: one.sequence)
        where = TopicPartition(first.topic(), first.partition())
        found = self.log.read(where)[first.offset() : first.offset() + most(where)]
        self._positions[where] += len(found)
        return found

    def poll(self, timeout: float, most: int = 0) -> list[StoredMessage]:  # noqa: ARG002 - the engine's signature
        """The harness hands messages out itself."""
        return []

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._positions[partition] = 0 if offset == BEGINNING else offset

    def proof(self) -> Proof:
        """Nobody looks at it."""
        return Proof(None, b"memory")

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self._paused.difference_update(partitions)

    def resume_at(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.resume(offsets)

    # -- partitions ----------------------------------------------------------------------------------

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        for partition, offset in offsets.items():
            self.seek(partition, offset)

    def unassign(self, partitions: Iterable[TopicPartition]) -> bool:
        for partition in partitions:
            self._positions.pop(partition, None)
            self._paused.discard(partition)
        return bool(self._positions)

    def generation(self) -> int:
        return GENERATION

    # -- offsets -------------------------------------------------------------------------------------

    def commit(self, commits: Mapping[TopicPartition, Commit]) -> None:
        self.commit_now(commits)
        self._on_commit(None, False, list(commits))

    def commit_now(self, commits: Mapping[TopicPartition, Commit]) -> tuple[None, bool]:
        assert self._group is not None
        for partition, commit in commits.items():
            self.log.committed[self._group, partition] = Committed(commit.offset, commit.metadata)
        return None, False

    def committed(
        self,
        partitions: Iterable[TopicPartition],
        timeout: float,  # noqa: ARG002 - the engine's signature
    ) -> dict[TopicPartition, Committed | None]:
        assert self._group is not None
        return {one: self.log.committed.get((self._group, one)) for one in partitions}

    def watermarks(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:  # noqa: ARG002 - as above
        return 0, len(self.log.read(partition)) if partition.topic in self._known else 0

    def cached_watermarks(self, partition: TopicPartition) -> tuple[int, int]:
        return 0, len(self.log.read(partition))

    def offsets_at(
        self,
        partitions: Iterable[TopicPartition],
        milliseconds: int,
        timeout: float,  # noqa: ARG002 - as above
    ) -> dict[TopicPartition, int]:
        def first(where: TopicPartition) -> int:
            found = (one.offset() for one in self.log.read(where) if one.timestamp()[1] >= milliseconds)
            return next(found, -1)

        return {one: first(one) for one in partitions}


class MemoryMembership:
    """The only member of its group: every partition of its topics is its own as soon as there is one."""

    is_unverified = False
    is_verified = True
    wants_rejoin = False
    subscribed: tuple[str, ...] = ()

    def __init__(self, manager: GroupManager) -> None:
        self._manager = manager

    def topology(self, topics: Mapping[str, int], created: frozenset[str]) -> None:  # noqa: ARG002 - the seam
        """Take what is ours and not taken yet."""
        manager = self._manager
        fresh = {
            where: binding
            for topic in manager.routes.learn(topics)
            if topic in topics and (binding := manager.routes.binding(topic)) is not None
            for number in range(topics[topic])
            if (where := TopicPartition(topic, number)) not in manager.assignment.owned
            and (binding.first.declared.partitions is None or number in binding.first.declared.partitions)
        }
        if fresh:
            manager.handover.take(starts.resolve(manager.consumer, fresh, manager.group, manager.routes))
        manager.is_ready = True

    def chores(self, now: float) -> None:
        """Nobody else is in the group."""

    def gave_up(self, *, has_some: bool, is_lost: bool = False) -> None:
        """Nobody takes partitions away."""
