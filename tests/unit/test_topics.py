"""What Topics adds to the admin client: waiting until usable or gone, names, settings as text."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from elsa.config import Settings
from elsa.errors import AuthorizationFailed, BrokerUnavailable, KafkaError, TopicExists, UnknownTopic
from elsa.kafka.admin import PartitionInfo
from elsa.topics import Topics


class FakeAdmin:
    """Answers `partitions` from a script, whose last entry stays; records what it is told."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.told: list[tuple[Any, ...]] = []
        self.offset_errors: list[Exception] = []

    def partitions(self, topic: str) -> Any:
        now = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(now, Exception):
            raise now
        return now

    def offsets(self, partitions: Any, place: Any) -> dict[Any, int]:
        if self.offset_errors:
            raise self.offset_errors.pop(0)
        if isinstance(place, datetime):
            # nothing is as young as that in the last partition
            return {where: int(place.timestamp()) if where != partitions[-1] else -1 for where in partitions}
        return dict.fromkeys(partitions, 0 if place == "earliest" else 7)

    def topic_id(self, topic: str) -> str:
        return f"id of {topic}"

    def partition_counts(self) -> dict[str, int]:
        return {"orders": 2, "__consumer_offsets": 4, "orders.billing.dlq": 1, "a": 1}

    def create_topic(self, *told: Any) -> None:
        self.told.append(told)
        if told[0] == "taken":
            raise TopicExists("taken")

    def delete_topic(self, *told: Any) -> None:
        self.told.append(told)

    def alter_topic_config(self, *told: Any) -> None:
        self.told.append(told)


LEADERLESS = [PartitionInfo(0, None, (1,), ())]
USABLE = [PartitionInfo(0, 1, (1,), (1,))]


def topics_with(*script: Any) -> tuple[Topics, FakeAdmin]:
    topics, admin = Topics(Settings()), FakeAdmin(*script)
    topics._admin = admin  # type: ignore[assignment]  # duck-typed
    return topics, admin


def test_creating_waits_for_metadata_leader_and_its_answer() -> None:
    topics, admin = topics_with(UnknownTopic(), [], LEADERLESS, USABLE)
    admin.offset_errors = [KafkaError("not yet", retryable=True)]
    topics.create("orders", config={"retention.ms": 5, "preallocate": False})

    assert admin.told == [("orders", 1, -1, {"retention.ms": "5", "preallocate": "false"}, 10.0)]
    assert admin.offset_errors == []


def test_creating_gives_up_after_its_timeout_and_says_why() -> None:
    topics, _ = topics_with(LEADERLESS)
    with pytest.raises(BrokerUnavailable, match=r"'orders' was created but is not usable yet after 0.1 s: no leader"):
        topics.create("orders", timeout=0.1)


def test_creating_does_not_wait_out_what_will_not_change() -> None:
    topics, _ = topics_with(AuthorizationFailed("no DESCRIBE"))
    with pytest.raises(AuthorizationFailed):
        topics.create("orders")


def test_creating_need_not_wait() -> None:
    topics, _ = topics_with(LEADERLESS)
    assert topics.create("orders", wait=False)


def test_an_existing_topic_is_still_waited_for() -> None:
    topics, admin = topics_with(LEADERLESS, USABLE)
    assert not topics.create("taken", exist_ok=True)

    assert admin.script == [USABLE]
    with pytest.raises(TopicExists):
        topics.create("taken")


def test_deleting_waits_until_it_is_gone() -> None:
    topics, admin = topics_with(USABLE, USABLE, UnknownTopic())
    topics.delete("orders")

    assert len(admin.script) == 1


def test_deleting_gives_up_after_its_timeout() -> None:
    topics, _ = topics_with(USABLE)
    with pytest.raises(BrokerUnavailable, match=r"is deleted but still listed after 0.1 s"):
        topics.delete("orders", timeout=0.1)


def test_internal_topics_are_kafkas_and_elsas_own() -> None:
    topics, _ = topics_with(USABLE)

    assert topics.list() == {"a": 1, "orders": 2}
    assert list(topics.list(internal=True)) == ["__consumer_offsets", "a", "orders", "orders.billing.dlq"]


def test_exists_raises_when_nobody_can_say() -> None:
    topics, _ = topics_with(BrokerUnavailable())
    with pytest.raises(BrokerUnavailable):
        topics.exists("orders")


def test_altering_writes_settings_as_kafka_does() -> None:
    topics, admin = topics_with(USABLE)
    topics.alter("orders", {"retention.ms": 5, "preallocate": True, "segment.ms": None})
    topics.alter("orders", {})

    assert admin.told == [("orders", {"retention.ms": "5", "preallocate": "true", "segment.ms": None})]


def test_watermarks_are_pairs_by_partition() -> None:
    topics, _ = topics_with(USABLE)

    assert topics.watermarks("orders") == {0: (0, 7)}


def test_a_topic_has_an_id() -> None:
    topics, _ = topics_with(USABLE)

    assert topics.id("orders") == "id of orders"


def test_where_a_time_lies_is_asked_of_every_partition() -> None:
    topics, _ = topics_with([PartitionInfo(number, 1, (1,), (1,)) for number in range(3)])

    assert topics.offsets_at("orders", 1000.0) == {0: 1000, 1: 1000}
