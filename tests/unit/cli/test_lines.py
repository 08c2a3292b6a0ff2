"""Messages as lines: what is read, what is refused with its line, what is printed."""

from __future__ import annotations

import json

import pytest

from elsa.cli.lines import BadLine, from_json, from_text, to_columns, to_json
from elsa.message import Message, Record


def one(line: str | bytes) -> Record:
    ((_, record),) = from_json([line if isinstance(line, bytes) else line.encode()])
    return record


def test_text_lines_are_sent_as_they_are() -> None:
    lines = [b"a\n", b"\n", b" b\r\n", b"\xff"]

    assert [record.value for _, record in from_text(lines)] == [b"a", b"", b" b\r", b"\xff"]


def test_lines_are_counted_from_one_and_blank_ones_are_counted_too() -> None:
    lines = [b'{"value": "a"}\n', b"\n", b'{"value": "b"}']

    assert [(number, record.value) for number, record in from_json(lines)] == [(1, b"a"), (3, b"b")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"text"', b"text"),
        ('"\\u00e9"', "é".encode()),
        ("null", None),
        ('""', b""),
        ("3", b"3"),
        ('{"a": [1, true]}', b'{"a":[1,true]}'),
        ('{"$base64": "/w=="}', b"\xff"),
        ('{"$base64": "/w==", "more": 1}', b'{"$base64":"/w==","more":1}'),
    ],
)
def test_a_value_is_text_null_base64_or_json(value: str, expected: bytes | None) -> None:
    assert one(f'{{"value": {value}}}').value == expected


def test_all_fields_are_read() -> None:
    record = one('{"value": "v", "key": "k", "headers": {"a": "1", "b": null}, "partition": 2, "timestamp": 1.5}')

    assert record == Record(b"v", key=b"k", headers=[("a", b"1"), ("b", None)], partition=2, timestamp=1.5)


def test_headers_keep_order_and_duplicates_as_a_list() -> None:
    assert one('{"value": "v", "headers": [["a", "1"], ["a", "2"]]}').headers == [("a", b"1"), ("a", b"2")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON: Expecting property name enclosed in double quotes at column 2"),
        ("[1]", 'no JSON object like {"value": ..., "key": ...}'),
        ("{}", 'no "value" (null for a tombstone)'),
        ('{"value": 1, "valeu": 2}', "unknown field 'valeu'"),
        ('{"value": 1, "key": {"a": 1}}', '"key" is no text, number or null'),
        ('{"value": 1, "partition": -1}', '"partition" is -1, no partition number'),
        ('{"value": 1, "partition": "0"}', "\"partition\" is '0', no partition number"),
        ('{"value": 1, "timestamp": "now"}', "\"timestamp\" is 'now'"),
        ('{"value": 1, "headers": "a"}', '"headers" is no object and no list'),
        ('{"value": 1, "headers": [["a"]]}', '"headers" is no object and no list'),
        ('{"value": {"$base64": "?"}}', '"value" is not valid base64'),
        ('{"value": {"$base64": 1}}', '"value" is not valid base64'),
        (b'{"value": "\xff"}', "not UTF-8 text"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_and_reason(line: str | bytes, reason: str) -> None:
    read = from_json([b'{"value": "fine"}\n', line if isinstance(line, bytes) else line.encode()])
    next(read)

    with pytest.raises(BadLine) as caught:
        next(read)

    assert caught.value.number == 2
    assert str(caught.value).startswith(f"line 2: {reason}")


@pytest.mark.parametrize(
    "message",
    [
        Message("t", 1, 5, b"k", b"v", (("a", b"1"), ("a", None), ("b", b"\xff")), 1700000000.123),
        Message("t", 1, 5, None, None),
        Message("t", 1, 5, b"\xfe", b"\xff\x00"),
        Message("t", 1, 5, b"", b""),
        Message("t", 1, 5, b"1", b'{"a": 1}'),
    ],
)
def test_what_fetch_prints_produce_reads(message: Message) -> None:
    record = one(json.dumps(to_json(message)))

    assert (record.key, record.value, record.partition, record.timestamp) == (
        message.key,
        message.value,
        message.partition,
        message.timestamp,
    )
    assert record.headers == list(message.headers)


def test_a_line_for_people_holds_place_time_key_and_value() -> None:
    place, time, key, value = to_columns(Message("orders", 2, 17, b"ann", b"v", (), 1700000000.0))

    assert (place, key, value) == ("orders[2]@17", "ann", "v")
    assert time.startswith("2023-11-1")


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "(null)"), (b"", ""), ("é".encode(), "é"), (b"\x1b[31m\n", "\\x1b[31m\\n"), (b"\xff", "\\xff")],
)
def test_nothing_can_harm_a_terminal(content: bytes | None, expected: str) -> None:
    assert to_columns(Message("t", 0, 0, None, content))[3] == expected
