"""What Groups adds to the admin client: lag, and resets that touch nothing in use."""

from __future__ import annotations

from typing import Any

import pytest

from elsa.config import Settings
from elsa.errors import GroupNotEmpty, UnknownGroup
from elsa.groups import Groups, OffsetChange, PartitionLag
from elsa.kafka.admin import GroupInfo, MemberInfo
from elsa.message import TopicPartition

P0, P1, GONE = TopicPartition("orders", 0), TopicPartition("orders", 1), TopicPartition("gone", 0)


def member(number: int, *partitions: TopicPartition, instance: str | None = None) -> MemberInfo:
    return MemberInfo(f"m{number}", f"client-{number}", f"/10.0.0.{number}", instance, partitions)


class FakeAdmin:
    """One group and one topic of two partitions, 0: offsets 2..9, 1: empty at 5."""

    def __init__(self, committed: dict[TopicPartition, int], *members: MemberInfo, known: bool = True) -> None:
        self._committed = committed
        self._members = members
        self._known = known
        self.altered: list[Any] = []

    def group(self, name: str) -> GroupInfo:
        if not self._known:
            raise UnknownGroup(name)
        return GroupInfo(name, "stable", "classic", "range", "localhost:9092", self._members)

    def committed(self, name: str) -> dict[TopicPartition, int]:
        return self._committed

    def partition_counts(self) -> dict[str, int]:
        return {"orders": 2}

    def offsets(self, partitions: Any, place: Any) -> dict[TopicPartition, int]:
        known = {"earliest": {P0: 2, P1: 5}, "latest": {P0: 9, P1: 5}}[place]
        return {each: known[each] for each in partitions}

    def alter_committed(self, *told: Any) -> None:
        self.altered.append(told)


def groups_with(*given: Any, **options: Any) -> tuple[Groups, FakeAdmin]:
    groups, admin = Groups(Settings()), FakeAdmin(*given, **options)
    groups._admin = admin  # type: ignore[assignment]  # duck-typed
    return groups, admin


def test_lag_counts_from_the_commit_or_from_the_start_and_is_never_negative() -> None:
    groups, _ = groups_with({P0: 1, GONE: 4}, member(1, P0, P1))

    assert [PartitionLag("orders", 0, 1, 2, 9, 7), PartitionLag("orders", 1, None, 5, 5, 0)] == groups.lag("billing")
    groups, _ = groups_with({P0: 12})

    assert [PartitionLag("orders", 0, 12, 2, 9, 0)] == groups.lag("billing")


def test_a_reset_stays_within_the_log_and_forgets_deleted_topics() -> None:
    groups, admin = groups_with({P0: 4, P1: 5, GONE: 1})
    expected = [OffsetChange("orders", 0, 4, 2), OffsetChange("orders", 1, 5, 5)]

    assert expected == groups.reset("billing", 0, dry_run=True)
    assert admin.altered == []
    assert expected == groups.reset("billing", 0)
    assert admin.altered == [("billing", {P0: 2, P1: 5})]


def test_many_members_are_named_shortly() -> None:
    members = [member(1, instance="shop-a-0"), *(member(number) for number in range(2, 9))]
    groups, _ = groups_with({P0: 4}, *members)
    with pytest.raises(GroupNotEmpty) as caught:
        groups.reset("billing", "latest")

    assert (
        str(caught.value)
        == "group 'billing' still has 8 members: shop-a-0 on /10.0.0.1, client-2 on /10.0.0.2, client-3 on /10.0.0.3, "
        "client-4 on /10.0.0.4, client-5 on /10.0.0.5 and 3 more\n  hint: stop its workers first"
    )


def test_a_group_that_committed_nothing_needs_topics() -> None:
    groups, _ = groups_with({})
    with pytest.raises(UnknownGroup, match=r"has committed nothing\n  hint: name the topics to set"):
        groups.reset("billing", "latest")


def test_an_unknown_group_is_refused_without_topics() -> None:
    groups, _ = groups_with({}, known=False)
    with pytest.raises(UnknownGroup):
        groups.reset("billing", "latest")


@pytest.mark.parametrize("place", ["soon", True, None, 1.5])
def test_what_is_no_place_is_refused_before_anything_changes(place: Any) -> None:
    groups, admin = groups_with({P0: 4})
    with pytest.raises(ValueError, match="use 'earliest', 'latest', an offset or a datetime"):
        groups.reset("billing", place)

    assert admin.altered == []
