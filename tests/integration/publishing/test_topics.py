"""Topics are created until they are usable, described as they are, changed and deleted, with typed refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.errors import BrokerUnavailable, TopicError, TopicExists, UnknownTopic
from elsa.producer import Producer
from elsa.topics import Topics

if TYPE_CHECKING:
    from elsa.config import Settings

pytestmark = pytest.mark.broker


@pytest.mark.parametrize(("options", "count"), [({}, 1), ({"partitions": 2}, 2)])
def test_case_13_a_created_topic_is_listed_and_a_deleted_one_is_not(
    topics: Topics, new_name: str, options: dict[str, Any], count: int
) -> None:
    topics.create(new_name, **options)

    assert count == topics.list()[new_name]
    assert count == topics.partition_count(new_name)
    topics.delete(new_name)

    assert new_name not in topics.list(internal=True)


def test_case_13_settings_are_described_back(topics: Topics, new_name: str) -> None:
    topics.create(new_name, config={"retention.ms": 86_400_000, "preallocate": True})
    found = topics.describe(new_name)

    assert (found.config["retention.ms"], found.config["preallocate"]) == ("86400000", "true")
    assert found.config["cleanup.policy"] == "delete"
    [partition] = found.partitions

    assert (0, (partition.leader,), (partition.leader,)) == (partition.partition, partition.replicas, partition.isr)


def test_case_13_creating_again_raises_unless_it_may_exist(topics: Topics, new_name: str) -> None:
    topics.create(new_name)
    with pytest.raises(TopicExists, match=rf"topic '{new_name}' exists already: .*already exists") as caught:
        topics.create(new_name)

    assert ("TOPIC_ALREADY_EXISTS", new_name) == (caught.value.code, caught.value.topic)
    topics.create(new_name, partitions=5, exist_ok=True)

    assert topics.partition_count(new_name) == 1


def test_case_13_deleting_what_is_not_there_raises_unless_it_may_be_missing(topics: Topics, new_name: str) -> None:
    with pytest.raises(UnknownTopic) as caught:
        topics.delete(new_name)

    assert caught.value.code == "UNKNOWN_TOPIC_OR_PART"
    topics.delete(new_name, missing_ok=True)


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("no spaces", {}, "TOPIC_EXCEPTION"),
        ("it-refused", {"partitions": 0}, "INVALID_PARTITIONS"),
        ("it-refused", {"replicas": 99}, "INVALID_REPLICATION_FACTOR"),
        ("it-refused", {"config": {"no.such.setting": 1}}, "INVALID_CONFIG"),
    ],
)
def test_what_the_broker_refuses_has_its_code_and_text(
    topics: Topics, name: str, options: dict[str, Any], code: str
) -> None:
    with pytest.raises(TopicError, match=f"refused the operation on topic '{name}': .*{code}") as caught:
        topics.create(name, **options)

    assert code == caught.value.code


def test_a_created_topic_can_be_used_at_once(topics: Topics, settings: Settings, new_name: str) -> None:
    topics.create(new_name, partitions=12)
    producer = Producer(settings)
    places = [producer.send(new_name, b"v", partition=partition).result(5) for partition in range(12)]
    producer.close()

    assert [place.offset for place in places] == 12 * [0]


def test_case_14_exists_says_yes_or_no(topics: Topics, topic: Any, new_name: str) -> None:
    assert topics.exists(topic()) is True
    assert topics.exists(new_name) is False
    assert new_name not in topics.list(internal=True)


def test_case_14_nobody_answering_is_no_answer(unreachable: Settings) -> None:
    with pytest.raises(BrokerUnavailable, match=r"no Kafka broker answered at 127.0.0.1:1"):
        Topics(unreachable).exists("orders")


def test_settings_are_altered_one_by_one_and_go_back_to_the_default(topics: Topics, topic: Any) -> None:
    name = topic(config={"retention.ms": "1000000", "max.message.bytes": "5000"})
    topics.alter(name, {"retention.ms": 2_000_000, "max.message.bytes": None})
    config = topics.describe(name).config

    assert (config["retention.ms"], config["max.message.bytes"]) == ("2000000", "1048588")
    with pytest.raises(UnknownTopic):
        topics.alter(f"{name}-not", {"retention.ms": 1})


def test_partitions_are_added_and_never_taken_away(topics: Topics, topic: Any) -> None:
    name = topic()
    topics.add_partitions(name, 4)

    assert topics.partition_count(name) == 4
    with pytest.raises(TopicError, match="INVALID_PARTITIONS"):
        topics.add_partitions(name, 2)


def test_records_are_deleted_and_the_watermarks_show_it(topics: Topics, data_set: str) -> None:
    assert topics.delete_records(data_set, {1: 8}) == {1: 8}
    assert topics.watermarks(data_set) == {0: (0, 10), 1: (8, 10), 2: (0, 10)}


def test_internal_topics_are_listed_on_request(topics: Topics, new_name: str) -> None:
    internal = f"{new_name}.dlq"
    topics.create(internal)
    try:
        assert internal not in topics.list()
        assert internal in topics.list(internal=True)
    finally:
        topics.delete(internal)
