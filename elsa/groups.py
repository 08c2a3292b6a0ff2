"""Lists and describes consumer groups, their lag and offsets; called by App and command line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from elsa.errors import GroupNotEmpty, UnknownGroup, UnknownPartition
from elsa.kafka.admin import Admin, GroupInfo, MemberInfo
from elsa.message import TopicPartition

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable

    from elsa.config import Settings

GroupDescription = GroupInfo

__all__ = ["GroupDescription", "GroupSummary", "Groups", "MemberInfo", "OffsetChange", "PartitionLag"]


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """A group in a listing; `protocol` is classic or consumer (KIP-848)."""

    name: str
    state: str
    protocol: str


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """What a group has left to do in one partition: `lag` messages between its position and the end.

    `committed` is None when it has committed nothing there; its lag is then the whole log (`start="earliest"`).
    """

    topic: str
    partition: int
    committed: int | None
    low: int
    high: int
    lag: int


@dataclass(frozen=True, slots=True)
class OffsetChange:
    """What a reset does to one partition; `before` is None when nothing was committed."""

    topic: str
    partition: int
    before: int | None
    after: int


class Groups:
    """The consumer groups of a cluster. Methods may be called from any thread.

    Every one raises BrokerUnavailable within about 5 s when nobody answers and AuthorizationFailed naming
    the missing right.

    ```python
    sum(partition.lag for partition in app.groups.lag("billing"))
    app.groups.reset("billing", "earliest", dry_run=True)
    ```
    """

    def __init__(self, settings: Settings) -> None:
        self._admin = Admin(settings)

    def list(self) -> builtins.list[GroupSummary]:
        """Every consumer group, by name."""
        return [GroupSummary(*found) for found in self._admin.list_groups()]

    def describe(self, name: str) -> GroupDescription:
        """State, protocol, coordinator and members with their partitions; raises UnknownGroup."""
        return self._admin.group(name)

    def owned(self, name: str) -> set[TopicPartition] | None:
        """The partitions that members of a classic group hold; None while it rebalances or has no member."""
        return self._admin.owned(name)

    def committed(self, name: str) -> dict[TopicPartition, int]:
        """The offsets the group goes on from, by partition."""
        return dict(sorted(self._admin.committed(name).items()))

    def lag(self, name: str) -> builtins.list[PartitionLag]:
        """How far behind the group is, in every partition it has committed to or holds; raises UnknownGroup."""
        members = self.describe(name).members
        committed = self._admin.committed(name)
        held = {partition for member in members for partition in member.partitions}
        partitions = self._existing(committed.keys() | held)
        low = self._admin.offsets(partitions, "earliest")
        high = self._admin.offsets(partitions, "latest")
        return [
            PartitionLag(
                each.topic,
                each.partition,
                committed.get(each),
                low[each],
                high[each],
                max(0, high[each] - max(committed.get(each, low[each]), low[each])),
            )
            for each in partitions
        ]

    def reset(
        self,
        name: str,
        to: str | int | datetime,
        *,
        topics: Iterable[str] | None = None,
        partitions: Iterable[int] | None = None,
        dry_run: bool = False,
    ) -> builtins.list[OffsetChange]:
        """Move the group's committed offsets: to "earliest", "latest", an offset or the first one at a time.

        Touches what it has committed to, or every partition of `topics`; only `partitions` if given. An
        offset outside the log becomes its nearest end, a time after the last message the end. `dry_run`
        only says what would change. Raises GroupNotEmpty naming the members: stop its workers first;
        UnknownGroup when it has committed nothing and no `topics` are given.
        """
        wanted = None if topics is None else _names(topics)
        self._refuse_members(name, missing_ok=wanted is not None)
        before = self._admin.committed(name)
        chosen = self._chosen(name, before, wanted, None if partitions is None else set(partitions))
        low = self._admin.offsets(chosen, "earliest")
        high = self._admin.offsets(chosen, "latest")
        place = self._places(to, chosen, low, high)
        changes = [
            OffsetChange(each.topic, each.partition, before.get(each), min(max(place(each), low[each]), high[each]))
            for each in chosen
        ]
        if changes and not dry_run:
            self._admin.alter_committed(
                name, {TopicPartition(change.topic, change.partition): change.after for change in changes}
            )
        return changes

    def delete(self, name: str, *, missing_ok: bool = False) -> None:
        """Delete a group with its committed offsets; raises GroupNotEmpty naming the members, UnknownGroup."""
        try:
            self._refuse_members(name, missing_ok=False)
            self._admin.delete_group(name)
        except UnknownGroup:
            if not missing_ok:
                raise

    def _refuse_members(self, name: str, *, missing_ok: bool) -> None:
        try:
            members = self.describe(name).members
        except UnknownGroup:
            if missing_ok:
                return
            raise
        if members:
            shown = ", ".join(f"{member.instance or member.client} on {member.host}" for member in members[:5])
            more = f" and {len(members) - 5} more" if len(members) > 5 else ""
            raise GroupNotEmpty(
                f"group {name!r} still has {len(members)} members: {shown}{more}",
                code="NON_EMPTY_GROUP",
                hint="stop its workers first",
            )

    def _existing(self, partitions: Iterable[TopicPartition]) -> builtins.list[TopicPartition]:
        """Those whose topic still exists (offsets of a deleted one stay for a while)."""
        counts = self._admin.partition_counts()
        return sorted(each for each in partitions if each.partition < counts.get(each.topic, 0))

    def _chosen(
        self,
        name: str,
        before: Iterable[TopicPartition],
        topics: builtins.list[str] | None,
        partitions: set[int] | None,
    ) -> builtins.list[TopicPartition]:
        if topics is None:
            chosen = self._existing(before)
            if not chosen:
                raise UnknownGroup(
                    f"group {name!r} has committed nothing", code="GROUP_ID_NOT_FOUND", hint="name the topics to set"
                )
        else:
            chosen = [TopicPartition(t, info.partition) for t in topics for info in self._admin.partitions(t)]
        missing = (partitions or set()) - {each.partition for each in chosen}
        if missing:
            raise UnknownPartition(f"there is no partition {min(missing)} to reset for group {name!r}")
        return [each for each in chosen if partitions is None or each.partition in partitions]

    def _places(
        self,
        to: str | int | datetime,
        chosen: builtins.list[TopicPartition],
        low: dict[TopicPartition, int],
        high: dict[TopicPartition, int],
    ) -> Callable[[TopicPartition], int]:
        if to == "earliest":
            return low.__getitem__
        if to == "latest":
            return high.__getitem__
        if isinstance(to, datetime):
            found = self._admin.offsets(chosen, to)
            return lambda each: found[each] if found[each] >= 0 else high[each]
        if isinstance(to, int) and not isinstance(to, bool):
            return lambda _: to
        raise ValueError(f"can't reset to {to!r}: use 'earliest', 'latest', an offset or a datetime")


def _names(topics: Iterable[str]) -> list[str]:
    return [topics] if isinstance(topics, str) else sorted(set(topics))
