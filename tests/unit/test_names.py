"""Names of topics that Elsa makes."""

from __future__ import annotations

import pytest

from elsa.names import (
    MAX_LENGTH,
    dead_letter_topic,
    handled_topic,
    is_internal,
    legal,
    retry_topic,
    seen_topic,
    task_topic,
)


def test_illegal_characters_are_escaped() -> None:
    assert legal("orders/eu:1") == "orders-eu-1"


def test_long_names_are_hashed_and_keep_their_suffix() -> None:
    first, second = dead_letter_topic("t" * 240, "g" * 40, "app"), dead_letter_topic("t" * 240, "g" * 41, "app")

    assert len(first) <= MAX_LENGTH
    assert first.endswith(".dlq")
    assert first != second


def test_what_is_handled_is_noted_in_an_internal_topic_also_beside_a_long_name() -> None:
    longest = dead_letter_topic("t" * 240, "g" * 40, "app")

    assert len(handled_topic(longest)) <= MAX_LENGTH
    assert is_internal(handled_topic(longest))
    assert handled_topic(longest) != longest


def test_a_standalone_handlers_dead_letters_go_to_the_apps_topic() -> None:
    assert dead_letter_topic("orders", None, "shop") == "orders.shop.dlq"


@pytest.mark.parametrize(
    "topic",
    [
        "__consumer_offsets",
        "orders.billing.dlq",
        "orders.billing.dlq-handled",
        "orders.billing.retry",
        "shop.tasks",
        "shop.schedules",
        "shop.control",
        "a.delay.64",
        retry_topic("t" * 240, "g" * 40),
        seen_topic("eu.orders", "billing"),
    ],
)
def test_topics_of_elsa_and_kafka_are_internal(topic: str) -> None:
    assert is_internal(topic, "shop")


@pytest.mark.parametrize(
    "topic",
    [
        "orders",
        "tasks",
        "dlq",
        "orders.delay.x",
        "my_control",
        task_topic("shop") + "2",
        "orders.status",
        "devices.control",
        "jobs.tasks",
        "payments.retry",
        "ever.seen",
    ],
)
def test_other_topics_are_not_internal(topic: str) -> None:
    assert not is_internal(topic, "shop")
