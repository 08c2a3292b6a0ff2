"""`elsa fetch` on real Kafka.

A topic is read from one place to another without a consumer group; people get readable lines, programs get JSON that
`elsa produce` takes back.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from elsa import exits

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.message import Message
    from elsa.testing.kafka import Topics
    from tests.integration.cli.conftest import Elsa, Ran

    Read = Callable[[str], list[Message]]

pytestmark = pytest.mark.broker

#: 2026-01-31T08:00Z and two hours after it
EIGHT, TEN = 1769846400, 1769853600
#: Kafka deletes messages that are older than a week, by their own timestamps
KEPT = {"retention.ms": "-1"}


@pytest.fixture
def filled(elsa: Elsa, topic: Topics) -> str:
    """Two partitions; 0 holds `a` (08:00), `b` and `c` (10:00), 1 holds `d` (10:00)."""
    name = topic(partitions=2, config=KEPT)
    lines = [
        {"value": "a", "key": "ann", "partition": 0, "timestamp": EIGHT},
        {"value": "b", "key": "bo", "partition": 0, "timestamp": TEN},
        {"value": "c", "key": "ann", "partition": 0, "timestamp": TEN},
        {"value": "d", "key": "bo", "partition": 1, "timestamp": TEN},
    ]
    assert elsa("produce", name, "--json-lines", stdin="\n".join(map(json.dumps, lines))).code == exits.OK
    return name


def fetched(ran: Ran) -> list[dict[str, Any]]:
    assert ran.code == exits.OK, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


def values(ran: Ran) -> list[str]:
    return sorted(message["value"] for message in fetched(ran))


def test_everything_up_to_the_end_is_printed_as_json(elsa: Elsa, filled: str) -> None:
    found = fetched(elsa("fetch", filled, "--json"))

    assert sorted(message["value"] for message in found) == ["a", "b", "c", "d"]
    assert [message for message in found if message["value"] == "b"] == [
        {
            "topic": filled,
            "partition": 0,
            "offset": 1,
            "timestamp": float(TEN),
            "key": "bo",
            "value": "b",
            "headers": [],
        }
    ]


def test_a_pipe_gets_plain_lines_with_tabs(elsa: Elsa, filled: str) -> None:
    ran = elsa("fetch", filled, "-p", "1")

    time = datetime.fromtimestamp(TEN, UTC).astimezone().isoformat(sep=" ", timespec="milliseconds")
    assert ran.out == f"{filled}[1]@0\t{time}\tbo\td\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-p", "0"], ["a", "b", "c"]),
        (["-p", "0", "--offset", "1"], ["b", "c"]),
        (["-p", "0", "--start", "1", "--end", "2"], ["b"]),
        (["--start", "earliest", "--end", "latest"], ["a", "b", "c", "d"]),
        (["--start", "latest"], []),
        (["--start", "2026-01-31T09:00Z"], ["b", "c", "d"]),
        (["--end", "2026-01-31T09:00:00+00:00"], ["a"]),
        (["--start", "-1h"], []),
        (["--key", "ann"], ["a", "c"]),
        (["--key", "an"], []),
        (["--search", "d"], ["d"]),
        (["--key", "bo", "--search", "b"], ["b"]),
        (["-p", "0", "-n", "2"], ["a", "b"]),
        (["-p", "0", "--key", "ann", "-n", "1"], ["a"]),
    ],
)
def test_bounds_and_filters_choose_messages(arguments: list[str], expected: list[str], elsa: Elsa, filled: str) -> None:
    assert values(elsa("fetch", filled, "--json", *arguments)) == expected


def test_values_alone_are_printed_byte_for_byte(elsa: Elsa, topic: Topics) -> None:
    name = topic()
    elsa("produce", name, stdin=b"\xff\x1b\nplain\n")

    process = elsa.start("fetch", name, "--values")

    assert process.communicate(timeout=60)[0] == b"\xff\x1b\nplain\n"


def test_what_is_no_text_travels_through_json_unharmed(elsa: Elsa, topic: Topics, read: Read) -> None:
    source, copy = topic(), topic()
    elsa("produce", source, "-k", "k", "-H", "h=1", stdin=b"\xff\xfe\nplain\n\n")
    elsa("produce", source, "--tombstone", "-k", "k")

    ran = elsa("produce", copy, "--json-lines", stdin=elsa("fetch", source, "--json").out)

    def content(name: str) -> list[tuple[Any, ...]]:
        return [(m.key, m.value, m.headers, m.timestamp) for m in read(name)]

    assert ran.code == exits.OK
    assert content(copy) == content(source)
    assert len(content(copy)) == 4


def test_following_prints_what_arrives_and_the_limit_ends_it(elsa: Elsa, filled: str) -> None:
    process = elsa.start("fetch", filled, "--follow", "--start", "earliest", "--json")
    assert process.stdout is not None
    seen = {json.loads(process.stdout.readline())["value"] for _ in range(4)}

    elsa("produce", filled, "new")
    arrived = json.loads(process.stdout.readline())

    assert seen == {"a", "b", "c", "d"}
    assert arrived["value"] == "new"


def test_a_topic_that_does_not_exist_is_named_with_a_near_one(elsa: Elsa, filled: str) -> None:
    ran = elsa("fetch", f"{filled}x")

    assert ran.code == exits.NOT_FOUND
    assert f"did you mean '{filled}'?" in ran.err


def test_a_partition_that_does_not_exist_is_not_found(elsa: Elsa, filled: str) -> None:
    ran = elsa("fetch", filled, "-p", "7")

    assert (ran.code, ran.out) == (exits.NOT_FOUND, "")
    assert "7" in ran.err


def test_brokers_that_do_not_answer_are_named(elsa: Elsa) -> None:
    ran = elsa("fetch", "any", "-b", "127.0.0.1:1")

    assert ran.code == exits.BROKER
    assert "127.0.0.1:1" in ran.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--follow", "--end", "5"], "--follow has no --end"),
        (["--values", "--json"], "give one of --values and --json"),
        (["--start", "someday"], "none of earliest, latest, an offset"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: list[str], text: str, elsa: Elsa) -> None:
    ran = elsa("fetch", "any", *arguments)

    assert ran.code == exits.USAGE
    assert text in ran.err


def test_no_consumer_group_is_left_behind(elsa: Elsa, filled: str) -> None:
    before = {group["name"] for group in json.loads(elsa("groups", "list", "--json").out)}

    fetched(elsa("fetch", filled, "--json"))

    assert {group["name"] for group in json.loads(elsa("groups", "list", "--json").out)} <= before
