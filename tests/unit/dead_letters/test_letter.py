"""Dead letters are read from headers that anybody may have written."""

from __future__ import annotations

import pytest

from elsa.dead_letters.letter import DeadLetter, Origin, parse_place
from elsa.message import Message


def letter(*headers: tuple[str, bytes | None]) -> DeadLetter:
    return DeadLetter.of(Message("t.g.dlq", 1, 7, b"k", b"v", headers, 1000.0))


def test_headers_are_read() -> None:
    found = letter(
        ("elsa-id", b"i"),
        ("elsa-origin", b"orders:3:17"),
        ("elsa-handler", b"bill"),
        ("elsa-reason", b"exhausted"),
        ("elsa-attempt", b"5"),
        ("elsa-error-type", b"E"),
        ("elsa-error-message", "é".encode()),
        ("elsa-traceback", b"T"),
    )

    assert (found.id, found.origin, found.handler, found.reason) == ("i", ("orders", 3, 17), "bill", "exhausted")
    assert (found.attempt, found.error_type, found.error_message, found.traceback) == (5, "E", "é", "T")
    assert (found.topic, found.place, found.key, found.value, found.timestamp) == ("t.g.dlq", "1:7", b"k", b"v", 1000.0)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("elsa-origin", None), ("elsa-attempt", None)),
        (("elsa-origin", b"\xff"), ("elsa-attempt", b"\xff"), ("elsa-handler", b"\xff")),
        (("elsa-origin", b"orders:3"), ("elsa-attempt", b"many")),
        (("elsa-origin", b":3:4"), ("elsa-attempt", b"-1")),
        (("elsa-origin", b"orders:3:" + b"9" * 5_000), ("elsa-attempt", b"9" * 5_000)),
        (("elsa-origin", b"orders:3:-4"), ("elsa-attempt", "٣".encode())),
    ],
)
def test_what_is_not_readable_is_not_there(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    found = letter(*headers)

    assert (found.origin, found.attempt, found.handler) == (None, None, None)


def test_the_last_of_several_headers_counts() -> None:
    assert letter(("elsa-handler", b"first"), ("elsa-handler", b"last")).handler == "last"


@pytest.mark.parametrize("text", ["", "3", "3:", ":4", "3:4:5", "a:4", "-3:4", "٣:٤"])
def test_what_is_no_place(text: str) -> None:
    assert parse_place(text) is None


def test_an_origin_reads_what_it_writes() -> None:
    origin = Origin("orders", 3, 17)

    assert Origin.parse(str(origin)) == origin
