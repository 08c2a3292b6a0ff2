"""What may lie in the topics of commands and reports, and whom a command is for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from elsa.control.protocol import Answer, Command, Status, Target, decode, encode

STATUS = Status(worker="shop-host-0", host="host", pid=17, version="0.1.0", started_at=1.5, slot=0)


@pytest.mark.parametrize(
    "value",
    [
        Command(name="ping", id="1"),
        Command(name="pause", id="1", target=Target(topic="orders", partition=3), arguments={"a": [1]}, ttl=2.0),
        Answer(id="1", worker="w", result={"a": None}),
        Answer(id="1", worker="w", error="no", is_absent=True),
        STATUS,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_written_is_read_and_says_its_version(value: Command | Answer | Status) -> None:
    assert decode(encode(value)) == value
    assert msgspec.json.decode(encode(value))["v"] == 1


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"hello",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"type":"command"}',
        b'{"type":"order","id":"1","name":"ping"}',
        b'{"type":"command","id":1,"name":"ping"}',
        b'{"type":"command","id":"1","name":"ping","target":"all"}',
        b'{"type":"command","id":"1","name":"ping","v":2}',
    ],
)
def test_what_others_have_written_is_nothing(data: bytes | None) -> None:
    assert decode(data) is None


def test_a_later_version_may_say_more() -> None:
    found = decode(b'{"type":"command","id":"1","name":"ping","v":1,"target":{"colour":"red"},"mood":"good"}')

    assert found == Command(name="ping", id="1")


def test_what_json_has_no_form_for_becomes_text() -> None:
    assert decode(encode(Answer(id="1", worker="w", result=[3 + 4j]))) == Answer(id="1", worker="w", result=["(3+4j)"])


@pytest.mark.parametrize(
    ("worker", "is_meant"), [(None, True), ("shop-host-2", True), ("2", True), ("shop-host", False), ("1", False)]
)
def test_a_process_is_meant_by_its_name_or_its_slot(worker: str | None, *, is_meant: bool) -> None:
    assert Target(worker=worker).is_for("shop-host-2", 2) is is_meant


def test_a_process_without_a_slot_has_no_number() -> None:
    assert not Target(worker="None").is_for("shop-1f", None)
    assert Target(worker="shop-1f").is_for("shop-1f", None)


@pytest.mark.parametrize(
    ("target", "fits"),
    [
        ({}, True),
        ({"worker": "elsewhere"}, True),
        ({"handler": "bill"}, True),
        ({"handler": "mail"}, False),
        ({"group": "billing"}, True),
        ({"group": "b"}, False),
        ({"topic": "orders"}, True),
        ({"topic": "orders.billing.retry"}, True),
        ({"topic": "o"}, False),
        ({"topic": "orders", "partition": 3}, True),
        ({"topic": "orders", "partition": 0}, False),
        ({"handler": "bill", "topic": "o"}, False),
    ],
)
def test_all_that_is_given_has_to_fit(target: dict[str, Any], *, fits: bool) -> None:
    found = Target(**target).fits(
        handlers=("bill",), group="billing", topics=("orders", "orders.billing.retry"), partition=3
    )

    assert found is fits


def test_a_target_covers_what_is_part_of_it() -> None:
    one = Target(topic="orders", partition=3)

    assert Target().covers(one)
    assert one.covers(one)
    assert not one.covers(Target(topic="orders"))
    assert not Target(handler="bill").covers(one)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target(), "everything"),
        (Target(handler="bill"), "handler bill"),
        (Target(worker="0", group="billing", topic="orders"), "worker 0, group billing, topic orders"),
        (Target(topic="orders", partition=0), "partition 0 of topic orders"),
        (Target(partition=2), "partition 2"),
    ],
)
def test_a_target_in_words(target: Target, text: str) -> None:
    assert str(target) == text
