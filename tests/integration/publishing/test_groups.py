"""Groups are listed and described, their lag is a number, and their offsets move only while nobody uses them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as RawPartition

from elsa.errors import BrokerUnavailable, GroupNotEmpty, UnknownGroup, UnknownPartition, UnknownTopic
from elsa.groups import Groups, GroupSummary, OffsetChange, PartitionLag
from elsa.message import Record, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.config import Settings
    from elsa.producer import Producer
    from elsa.topics import Topics

pytestmark = pytest.mark.broker


def commit(settings: Settings, group: str, topic: str, offsets: dict[int, int]) -> None:
    consumer = Consumer({"bootstrap.servers": settings.brokers, "group.id": group})
    consumer.commit(offsets=[RawPartition(topic, p, o) for p, o in offsets.items()], asynchronous=False)
    consumer.close()


@pytest.fixture
def used(settings: Settings, group: Any, data_set: str) -> str:
    """A group without members that has committed 4 and 10 of partitions 0 and 1."""
    name: str = group()
    commit(settings, name, data_set, {0: 4, 1: 10})
    return name


@pytest.fixture
def member(settings: Settings, group: Any, data_set: str) -> Iterator[tuple[str, Consumer]]:
    """A group with one member that holds all partitions and has committed nothing."""
    name = group()
    consumer = Consumer(
        {
            "bootstrap.servers": settings.brokers,
            "group.id": name,
            "client.id": "it-member",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([data_set])
    while not consumer.assignment():
        consumer.poll(0.1)
    yield name, consumer
    consumer.close()


def test_an_unused_group_is_listed_described_and_deleted(groups: Groups, used: str) -> None:
    assert GroupSummary(used, "empty", "classic") in groups.list()
    found = groups.describe(used)

    assert (used, "empty", ()) == (found.name, found.state, found.members)
    assert ":" in found.coordinator
    groups.delete(used)

    assert used not in [group.name for group in groups.list()]
    with pytest.raises(UnknownGroup, match=f"'{used}'"):
        groups.delete(used)
    groups.delete(used, missing_ok=True)
    with pytest.raises(UnknownGroup):
        groups.describe(used)


def test_a_member_is_described_with_its_partitions(groups: Groups, member: tuple[str, Consumer], data_set: str) -> None:
    found = groups.describe(member[0])
    [one] = found.members

    assert (found.state, found.protocol, found.assignor) == ("stable", "classic", "range")
    assert (one.client, one.instance) == ("it-member", None)
    assert tuple(TopicPartition(data_set, partition) for partition in range(3)) == one.partitions


def test_lag_is_what_is_left_to_do(groups: Groups, topics: Topics, used: str, data_set: str) -> None:
    assert {TopicPartition(data_set, 0): 4, TopicPartition(data_set, 1): 10} == groups.committed(used)
    assert [PartitionLag(data_set, 0, 4, 0, 10, 6), PartitionLag(data_set, 1, 10, 0, 10, 0)] == groups.lag(used)
    topics.delete_records(data_set, {0: 8})

    assert PartitionLag(data_set, 0, 4, 8, 10, 2) == groups.lag(used)[0]


def test_lag_without_a_commit_is_the_whole_log(groups: Groups, member: tuple[str, Consumer], data_set: str) -> None:
    assert [PartitionLag(data_set, partition, None, 0, 10, 10) for partition in range(3)] == groups.lag(member[0])


def test_lag_forgets_deleted_topics(
    groups: Groups, topics: Topics, settings: Settings, used: str, data_set: str
) -> None:
    gone = f"{data_set}-gone"
    topics.create(gone)
    commit(settings, used, gone, {0: 0})
    topics.delete(gone)

    assert {data_set} == {partition.topic for partition in groups.lag(used)}


@pytest.mark.parametrize(
    ("to", "after"), [("earliest", (0, 0)), ("latest", (10, 10)), (7, (7, 7)), (99, (10, 10)), (-5, (0, 0))]
)
def test_a_reset_moves_what_was_committed_within_the_log(
    groups: Groups, used: str, data_set: str, to: Any, after: tuple[int, int]
) -> None:
    expected = [OffsetChange(data_set, 0, 4, after[0]), OffsetChange(data_set, 1, 10, after[1])]

    assert expected == groups.reset(used, to, dry_run=True)
    assert list(groups.committed(used).values()) == [4, 10]
    assert expected == groups.reset(used, to)
    assert list(after) == list(groups.committed(used).values())


def test_a_reset_to_a_time(groups: Groups, producer: Producer, group: Any, topic: Any) -> None:
    name, noon = topic(), datetime(2026, 1, 1, 12, tzinfo=UTC)
    producer.produce(name, [Record(str(n), timestamp=noon.timestamp() + n) for n in range(5)])
    used = group()
    at = datetime.fromtimestamp(noon.timestamp() + 3, UTC)

    assert [OffsetChange(name, 0, None, 3)] == groups.reset(used, at, topics=[name])
    assert [OffsetChange(name, 0, 3, 5)] == groups.reset(used, datetime.now(UTC), topics=name)


def test_a_reset_takes_topics_and_partitions(groups: Groups, used: str, data_set: str, new_name: str) -> None:
    assert [OffsetChange(data_set, 1, 10, 2)] == groups.reset(used, 2, partitions=[1])
    assert [OffsetChange(data_set, 2, None, 10)] == groups.reset(used, "latest", topics=[data_set], partitions=[2])
    with pytest.raises(UnknownPartition, match="no partition 7"):
        groups.reset(used, 2, partitions=[7])
    with pytest.raises(UnknownTopic):
        groups.reset(used, 2, topics=[new_name])
    with pytest.raises(ValueError, match="can't reset to 'soon'"):
        groups.reset(used, "soon")


def test_a_reset_of_an_unknown_group_needs_topics(groups: Groups, group: Any, data_set: str) -> None:
    name = group()
    with pytest.raises(UnknownGroup):
        groups.reset(name, "earliest")

    assert len(groups.reset(name, "latest", topics=[data_set])) == 3


def test_a_group_in_use_is_not_touched_and_its_members_are_named(
    groups: Groups, member: tuple[str, Consumer], data_set: str
) -> None:
    for change in (lambda: groups.reset(member[0], "latest", topics=[data_set]), lambda: groups.delete(member[0])):
        with pytest.raises(
            GroupNotEmpty, match=r"still has 1 members: it-member on .*\n  hint: stop its workers first"
        ):
            change()

    assert groups.committed(member[0]) == {}


def test_nobody_answering_is_typed(unreachable: Settings) -> None:
    with pytest.raises(BrokerUnavailable):
        Groups(unreachable).list()
