"""`elsa produce` on real Kafka.

What a person sends from a shell arrives byte for byte, or they are told which line did not; nothing is half sent
without a word.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.partitioners import md5

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from elsa.message import Message
    from elsa.testing.kafka import Topics
    from tests.integration.cli.conftest import Elsa

    Read = Callable[[str], list[Message]]

pytestmark = pytest.mark.broker


def test_an_argument_is_one_message_with_key_and_headers(elsa: Elsa, topic: Topics, read: Read) -> None:
    name = topic()

    ran = elsa("produce", name, "héllo", "-k", "ann", "-H", "a=1", "-H", "a=2=3")

    assert (ran.code, ran.out, ran.err) == (exits.OK, f"{name}[0]@0\n", "")
    (message,) = read(name)
    assert (message.key, message.value, message.headers) == (b"ann", "héllo".encode(), (("a", b"1"), ("a", b"2=3")))


def test_each_line_of_stdin_is_a_message_byte_for_byte(elsa: Elsa, topic: Topics, read: Read) -> None:
    name = topic()

    ran = elsa("produce", name, stdin=b"one\n\n t\xffo \r\nlast")

    assert (ran.code, ran.out) == (exits.OK, f"4 messages delivered to {name}\n")
    assert [message.value for message in read(name)] == [b"one", b"", b" t\xffo \r", b"last"]


def test_lines_of_a_file_are_sent(elsa: Elsa, topic: Topics, read: Read, tmp_path: Path) -> None:
    name = topic()
    (tmp_path / "lines").write_text("a\nb\n")

    assert elsa("produce", name, "--from-file", "lines").code == exits.OK
    assert [message.value for message in read(name)] == [b"a", b"b"]


def test_json_lines_carry_key_headers_and_partition(elsa: Elsa, topic: Topics, read: Read) -> None:
    name = topic(partitions=3)
    lines = [
        {"value": {"id": 1}, "key": "k", "headers": {"h": "x"}, "partition": 2},
        {"value": None, "key": "gone", "partition": 0},
    ]

    ran = elsa("produce", name, "--json-lines", stdin="\n".join(map(json.dumps, lines)))

    assert ran.code == exits.OK
    tombstone, order = read(name)
    assert (tombstone.partition, tombstone.key, tombstone.value) == (0, b"gone", None)
    assert (order.partition, order.key, order.value, order.headers) == (2, b"k", b'{"id":1}', (("h", b"x"),))


def test_a_tombstone_has_no_value(elsa: Elsa, topic: Topics, read: Read) -> None:
    name = topic()

    assert elsa("produce", name, "--tombstone", "-k", "ann").code == exits.OK
    assert [(message.key, message.value) for message in read(name)] == [(b"ann", None)]


def test_the_partition_and_the_partitioner_decide_where(elsa: Elsa, topic: Topics, read: Read) -> None:
    name = topic(partitions=4)

    elsa("produce", name, "x", "-k", "ann", "-p", "3")
    elsa("produce", name, "y", "-k", "bo", "--partitioner", "md5")

    assert {message.value: message.partition for message in read(name)} == {b"x": 3, b"y": md5(b"bo", 4)}


def test_the_summary_in_json_says_where_everything_lies(elsa: Elsa, topic: Topics) -> None:
    name = topic(partitions=2)

    ran = elsa("produce", name, "-p", "1", "--json", stdin="a\nb\nc\n")

    assert json.loads(ran.out) == {
        "topic": name,
        "delivered": 3,
        "failed": 0,
        "unconfirmed": 0,
        "reason": None,
        "partitions": {"1": {"count": 3, "first": 0, "last": 2}},
    }


def test_a_bad_line_of_stdin_stops_there_and_says_what_was_sent(elsa: Elsa, topic: Topics, read: Read) -> None:
    name = topic()

    ran = elsa("produce", name, "--json-lines", stdin='{"value": "a"}\n\n{"value": "b"}\n{"valu": 1}\n{"value": "c"}\n')

    assert ran.code == exits.FAILED
    assert ran.out == f"2 messages delivered to {name}\n"
    assert ran.err.startswith("error: stopped at line 4: unknown field 'valu': use headers, key")
    assert "nothing of that line and after it was sent" in ran.err
    assert [message.value for message in read(name)] == [b"a", b"b"]


def test_a_file_with_a_bad_line_is_not_sent_at_all(elsa: Elsa, topic: Topics, read: Read, tmp_path: Path) -> None:
    name = topic()
    (tmp_path / "bad.jsonl").write_text('{"value": "a"}\n{\n')

    ran = elsa("produce", name, "--json-lines", "--from-file", "bad.jsonl")

    assert (ran.code, ran.out) == (exits.FAILED, "")
    assert ran.err.startswith("error: line 2: not JSON: Expecting property name enclosed in double quotes at column")
    assert "nothing was sent" in ran.err
    assert read(name) == []


def test_messages_that_are_refused_are_counted_with_the_first_reason(elsa: Elsa, topic: Topics, read: Read) -> None:
    name = topic(config={"max.message.bytes": "1000"})
    lines = ["small", "x" * 5000, "y" * 5000, "small too"]

    ran = elsa("produce", name, "--json", stdin="\n".join(lines), ELSA_SEND_LINGER="0", ELSA_KAFKA__BATCH__SIZE="1")

    summary = json.loads(ran.out)
    assert ran.code == exits.FAILED
    assert (summary["delivered"], summary["failed"]) == (2, 2)
    assert summary["reason"].startswith("line 2: ")
    assert ran.err.startswith("error: 2 messages were not delivered; the first: line 2: ")
    assert [message.value for message in read(name)] == [b"small", b"small too"]


def test_a_topic_that_does_not_exist_is_named_with_a_near_one(elsa: Elsa, topic: Topics) -> None:
    name = topic()

    ran = elsa("produce", f"{name}x", "v")

    assert ran.code == exits.NOT_FOUND
    assert f"topic '{name}x' does not exist" in ran.err
    assert f"did you mean '{name}'?" in ran.err


def test_a_partition_that_does_not_exist_is_named(elsa: Elsa, topic: Topics) -> None:
    ran = elsa("produce", topic(partitions=2), "v", "-p", "2")

    assert ran.code == exits.NOT_FOUND
    assert "has no partition 2, only 0..1" in ran.err


def test_brokers_that_do_not_answer_are_named(elsa: Elsa) -> None:
    ran = elsa("produce", "any", "v", "-b", "127.0.0.1:1")

    assert ran.code == exits.BROKER
    assert "127.0.0.1:1" in ran.err
    assert "Traceback" not in ran.err


def test_two_sources_are_refused(elsa: Elsa) -> None:
    ran = elsa("produce", "any", "v", "--tombstone")

    assert ran.code == exits.USAGE
    assert "give one of VALUE, --from-file and --tombstone" in ran.err
