"""The admin client's errors when nobody answers, and its second life in a forked child."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from elsa.config import Settings
from elsa.errors import BrokerUnavailable, ConfigError, TopicError, UnknownTopic
from elsa.kafka.admin import Admin
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from elsa.kafka.mock import MockCluster


@pytest.fixture
def admin() -> Admin:
    return Admin(Settings(brokers="127.0.0.1:1"))


def test_every_call_says_who_did_not_answer(admin: Admin) -> None:
    for call in (
        lambda: admin.partition_counts(0.2),
        lambda: admin.partitions("orders", 0.2),
        lambda: admin.create_topic("orders", 1, 1, {}, 0.2),
        lambda: admin.topic_config("orders", 0.2),
        lambda: admin.offsets([TopicPartition("orders", 0)], "latest", 0.2),
        lambda: admin.list_groups(0.2),
        lambda: admin.group("billing", 0.2),
        lambda: admin.committed("billing", 0.2),
    ):
        with pytest.raises(BrokerUnavailable, match=r"no Kafka broker answered at 127.0.0.1:1: .*(refused|Timed out)"):
            call()


def test_no_partitions_need_no_request(admin: Admin) -> None:
    assert admin.offsets([], "latest") == {}


def test_an_empty_name_is_refused(admin: Admin) -> None:
    with pytest.raises(TopicError, match="the name is empty"):
        admin.partitions("")


def test_a_wrong_configuration_is_said() -> None:
    with pytest.raises(ConfigError, match="the admin client's configuration is refused"):
        Admin(Settings(kafka={"socket.timeout.ms": "soon"})).partition_counts(0.2)


def test_a_forked_child_makes_its_own_client(admin: Admin) -> None:
    before = admin._client()
    admin._after_fork()

    assert before is not admin._client()


def test_a_cluster_without_a_controller_lists_its_partitions_all_the_same(elsa_mock_kafka: MockCluster) -> None:
    admin = Admin(Settings(brokers=elsa_mock_kafka.bootstrap))
    admin._client().list_topics("orders", 5)

    partitions = admin.partitions("orders")

    assert [info.partition for info in partitions] == [0, 1, 2, 3]
    assert {info.leader for info in partitions} == {1}
    assert partitions[0].replicas == partitions[0].isr == (1,)
    with pytest.raises(UnknownTopic, match="topic 'nothing' does not exist"):
        admin.partitions("nothing")
