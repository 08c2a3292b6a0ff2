"""Where a dead letter goes: to the group that failed, or where a user says; missing topics are made where wanted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from elsa.dead_letters.destinations import Destination, Destinations, NoWayBack
from elsa.dead_letters.letter import DeadLetter
from elsa.errors import AuthorizationFailed, UnknownTopic
from elsa.message import Message

from .world import letter


class Cluster:
    """Topics with their partitions, and what groups have committed; counts the questions."""

    def __init__(self, topics: dict[str, int], committed: dict[str, list[str]] | None = None) -> None:
        self.topics = topics
        self.groups = committed or {}
        self.config: dict[str, str] | Exception = {"max.message.bytes": "1000"}
        self.questions: list[str] = []
        self.made: list[tuple[str, int, dict[str, str]]] = []

    def partition_count(self, topic: str) -> int:
        self.questions.append(topic)
        if topic not in self.topics:
            raise UnknownTopic(f"no {topic}", topic=topic)
        return self.topics[topic]

    def describe(self, topic: str) -> Any:
        if isinstance(self.config, Exception):
            raise self.config
        return SimpleNamespace(config=self.config)

    def create(self, topic: str, *, partitions: int, config: dict[str, str], exist_ok: bool) -> None:
        assert exist_ok
        self.made.append((topic, partitions, config))
        self.topics[topic] = partitions

    def committed(self, group: str) -> list[Any]:
        self.questions.append(group)
        return [SimpleNamespace(topic=topic) for topic in self.groups.get(group, [])]


def cluster(**topics: int) -> Cluster:
    return Cluster({"orders": 2, "orders.billing.retry": 2, **topics}, {"billing": ["orders"]})


def destinations(there: Cluster, name: str = "orders.billing.dlq", **options: Any) -> Destinations:
    return Destinations(name, topics=there, groups=there, **options)  # type: ignore[arg-type]  # duck-typed


def died(partition: int = 1, **headers: str) -> DeadLetter:
    return DeadLetter.of(letter(partition, 7, **headers))


FOREIGN = DeadLetter.of(Message("orders.billing.dlq", 0, 0, b"k", b"v"))


def test_it_goes_back_to_the_partition_of_its_origin() -> None:
    assert destinations(cluster()).of(died()) == Destination("orders.billing.retry", 1)


def test_a_retry_topic_without_that_partition_leaves_it_to_the_key() -> None:
    assert destinations(cluster()).of(died(5)) == Destination("orders.billing.retry", None)


def test_the_cluster_is_asked_once() -> None:
    there = cluster()
    ways = destinations(there)
    for _ in range(3):
        ways.of(died())

    assert sorted(there.questions) == ["billing", "orders.billing.retry"]


def test_to_another_topic_by_key_and_to_the_source_by_partition() -> None:
    there = cluster(other=5)

    assert destinations(there, to="other").of(died()) == Destination("other", None)
    assert destinations(there, to="orders").of(died()) == Destination("orders", 1)
    assert destinations(there, to="other").of(FOREIGN) == Destination("other", None)


def test_a_topic_that_a_user_names_is_never_made() -> None:
    there = cluster()

    with pytest.raises(UnknownTopic, match=r"'other' does not exist\n.*elsa topics create other"):
        destinations(there, to="other", creates=True).require()
    assert there.made == []


def test_nothing_named_is_nothing_required() -> None:
    destinations(Cluster({})).require()


def test_the_handlers_of_an_app_say_the_group() -> None:
    ways = destinations(cluster(**{"orders.g.retry": 2}), "lost", handlers={"bill": "g", "tail": None})

    assert ways.of(died()) == Destination("orders.g.retry", 1)
    with pytest.raises(NoWayBack, match="their handler tail has no group"):
        ways.of(died(elsa_handler="tail"))


def test_the_user_says_the_group() -> None:
    ways = destinations(cluster(**{"orders.g.retry": 2}), "lost", group="g", handlers={"bill": "other"})

    assert ways.of(died()) == Destination("orders.g.retry", 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lost", "'lost' does not say which group of 'orders' they belong to"),
        ("orders..dlq", "does not say which group"),
        ("payments.billing.dlq", "does not say which group"),
        ("orders.shop.dlq", "group 'shop' has committed nothing of topic 'orders'"),
    ],
)
def test_no_group_no_way_back(name: str, text: str) -> None:
    ways = destinations(cluster(), name)

    for _ in range(2):
        with pytest.raises(NoWayBack, match=text):
            ways.of(died())


def test_a_message_without_an_origin_has_no_way_back() -> None:
    with pytest.raises(NoWayBack, match="do not say where they came from"):
        destinations(cluster()).of(FOREIGN)


def test_a_missing_retry_topic_is_made_like_its_source() -> None:
    there = cluster()
    del there.topics["orders.billing.retry"]

    destinations(there, creates=True).of(died())

    config = {"retention.ms": "2592000000", "max.message.bytes": str(1000 + 64 * 1024)}
    assert there.made == [("orders.billing.retry", 2, config)]


def test_a_source_that_may_not_be_described_gives_no_limit() -> None:
    there = cluster()
    del there.topics["orders.billing.retry"]
    there.config = AuthorizationFailed("no DESCRIBE_CONFIGS")

    destinations(there, creates=True).of(died())

    assert [config for _, _, config in there.made] == [{"retention.ms": "2592000000"}]


def test_a_dry_run_makes_nothing_and_says_what_is_missing() -> None:
    there = cluster()
    del there.topics["orders.billing.retry"]
    ways = destinations(there, creates=True, is_dry=True)

    assert ways.of(died()) == Destination("orders.billing.retry", 1)
    assert (there.made, ways.missing) == ([], {"orders.billing.retry"})


def test_where_topics_are_not_made_the_error_says_how() -> None:
    there = cluster()
    del there.topics["orders.billing.retry"]

    with pytest.raises(UnknownTopic, match=r"come back to their group, does not exist\n.*--partitions 2"):
        destinations(there).of(died())


def test_without_the_source_nobody_knows_the_partitions() -> None:
    with pytest.raises(UnknownTopic, match="and 'orders', whose partitions it would have, neither"):
        destinations(Cluster({}, {"billing": ["orders"]}), creates=True).of(died())
