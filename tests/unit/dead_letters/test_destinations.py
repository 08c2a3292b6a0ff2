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


def delayed(target: str | None = "orders:1", value: bytes | None = b"v", reason: str = "undeliverable") -> DeadLetter:
    pairs = {"elsa-origin": "mix.delay.16:0:5", "elsa-reason": reason}
    if target is not None:
        pairs["elsa-target"] = target
    headers = tuple((name, text.encode()) for name, text in pairs.items())
    return DeadLetter.of(Message("mix.delay.dlq", 0, 0, b"k", value, headers))


@pytest.mark.parametrize(
    ("target", "expected"), [("orders:1", ("orders", 1)), ("orders", ("orders", None)), ("orders:2", ("orders", None))]
)
def test_a_delayed_message_goes_where_it_was_to_go(target: str, expected: tuple[str, int | None]) -> None:
    there = cluster()

    assert destinations(there, "mix.delay.dlq", creates=True).of(delayed(target)) == expected
    assert there.made == []


def test_a_user_sends_delayed_messages_elsewhere() -> None:
    assert destinations(cluster(other=5), "mix.delay.dlq", to="other").of(delayed()) == Destination("other", None)


def test_a_delayed_message_without_its_target_is_an_error() -> None:
    there = cluster()

    with pytest.raises(UnknownTopic, match=r"'gone' does not exist\n.*elsa topics create gone`, or .* --to"):
        destinations(there, "mix.delay.dlq", creates=True).of(delayed("gone:0"))
    assert there.made == []


@pytest.mark.parametrize(
    ("letter", "options", "text"),
    [
        (delayed(None), {}, r"do not say where to \(no readable elsa-target\)"),
        (delayed("a b"), {"group": "mix"}, r"do not say where to \(no readable elsa-target\)"),
        (delayed(), {"group": "mix"}, "on their way to 'orders', and no group has failed: leave --group out"),
        (delayed(value=None), {}, "have no body, perhaps because it was too large"),
    ],
)
def test_delayed_messages_that_stay(letter: DeadLetter, options: dict[str, Any], text: str) -> None:
    there = cluster()

    with pytest.raises(NoWayBack, match=text):
        destinations(there, "mix.delay.dlq", creates=True, **options).of(letter)
    assert there.made == []


def test_a_target_of_what_was_delivered_means_nothing() -> None:
    ways = destinations(cluster(**{"mix.delay.16.g.retry": 1}), "mix.delay.dlq", group="g")

    assert ways.of(delayed(reason="exhausted")).topic == "mix.delay.16.g.retry"


def test_a_group_that_nobody_has_is_doubted() -> None:
    there = cluster()
    ways = destinations(there, group="nobody", creates=True, is_dry=True)

    assert ways.of(died()).topic == "orders.nobody.retry"
    ways.of(died(elsa_handler="mail"))

    (text,) = ways.warnings
    assert (
        "group 'nobody' has committed nothing of topic 'orders': nobody gets what is on 'orders.nobody.retry'" in text
    )


@pytest.mark.parametrize("options", [{"group": "billing"}, {"group": "g", "handlers": {"other": "g"}}, {}])
def test_a_group_that_there_is_is_not_doubted(options: dict[str, Any]) -> None:
    ways = destinations(cluster(**{"orders.g.retry": 2}), **options)
    ways.of(died())

    assert ways.warnings == []


def test_a_group_that_may_not_be_looked_at_is_not_doubted() -> None:
    there = cluster()

    def refuse(group: str) -> list[Any]:
        raise AuthorizationFailed(f"no DESCRIBE on {group}")

    there.committed = refuse  # type: ignore[method-assign]  # a broker with ACLs
    ways = destinations(there, group="billing")

    assert ways.of(died()).topic == "orders.billing.retry"
    assert ways.warnings == []
