"""Copies of messages that are tried again by topic, and how they look when they come back."""

from __future__ import annotations

from typing import Any

import pytest

from elsa.message import Message
from elsa.outcome import Kind, Outcome
from elsa.policies import retried


class Raw:
    """A message as polled, as far as these functions look at it."""

    def __init__(self, headers: Any, timestamp: tuple[int, int] = (0, 0)) -> None:
        self._headers = headers
        self._timestamp = timestamp

    def headers(self) -> Any:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return self._timestamp


def message(
    *headers: tuple[str, bytes], topic: str = "t", offset: int = 5, timestamp: float | None = 100.25
) -> Message:
    return Message(topic, 1, offset, b"k", b"v", headers, timestamp=timestamp)


def failed(attempt: int, error: BaseException | None = None) -> Outcome:
    return Outcome(Kind.MOVED, delay=20.0, error=error or ValueError("no"), attempt=attempt)


def copy(of: Message, attempt: int = 1, **options: Any) -> list[tuple[str, bytes | None]]:
    return list(retried.headers(of, failed(attempt), "h", due=120.0, target="t.g.retry:1", **options))


def test_a_copy_says_where_it_came_from_and_keeps_the_users_headers_in_order() -> None:
    found = copy(message(("a", b"1"), ("b", b"2"), ("a", b"3")))

    assert [pair for pair in found if not pair[0].startswith("elsa-")] == [("a", b"1"), ("b", b"2"), ("a", b"3")]
    named = dict(found)
    assert named["elsa-origin"] == b"t:1:5"
    assert named["elsa-origin-at"] == b"100.250"
    assert (named["elsa-attempt"], named["elsa-handler"]) == (b"1", b"h")
    assert named["elsa-error-type"] == b"builtins.ValueError"
    assert named["elsa-target"] == b"t.g.retry:1"


def test_a_copy_of_a_copy_names_the_first_origin_and_nothing_twice() -> None:
    back = retried.as_origin(
        Message("t.g.retry", 1, 70, b"k", b"v", tuple(copy(message(("a", b"1")))), timestamp=121.0)
    )
    again = copy(back, attempt=2)

    names = [name for name, _ in again]
    assert len(names) == len(set(names))
    assert dict(again)["elsa-origin"] == b"t:1:5"
    assert dict(again)["elsa-origin-at"] == b"100.250"
    assert dict(again)["elsa-attempt"] == b"2"


def test_the_error_can_be_left_out() -> None:
    assert not any(name.startswith("elsa-error") for name, _ in copy(message(), with_error=False))


def test_what_comes_back_has_the_place_and_time_of_its_origin() -> None:
    back = retried.as_origin(Message("t.g.retry", 1, 70, b"k", b"v", tuple(copy(message())), timestamp=121.0))

    assert (back.topic, back.partition, back.offset, back.retry_offset, back.timestamp) == ("t", 1, 5, 70, 100.25)


@pytest.mark.parametrize("origin", [b"", b"t", b"t:x:1", b":1:2", b"t:1:-3", b"t:1:" + b"9" * 5_000, b"\xff\xfe"])
def test_what_has_no_legible_origin_is_taken_as_it_is(origin: bytes) -> None:
    back = retried.as_origin(message(("elsa-origin", origin), topic="t.g.retry", offset=70))

    assert (back.topic, back.offset, back.retry_offset) == ("t.g.retry", 70, 70)


@pytest.mark.parametrize(("text", "expected"), [(b"3", 3), (b"x", 0), (b"-1", 0), (b"", 0), (b"9" * 5_000, 0)])
def test_attempts_before_are_read_from_the_header(text: bytes, expected: int) -> None:
    assert retried.attempts(Raw([("elsa-attempt", text)])) == expected


def test_no_header_means_no_attempt_before() -> None:
    assert retried.attempts(Raw(None)) == 0


def test_a_messages_age_begins_at_its_origin() -> None:
    assert retried.came_at(Raw([("elsa-origin-at", b"99.500")], (1, 120_000))) == 99.5
    assert retried.came_at(Raw([("elsa-origin-at", b"soon")], (1, 120_000))) == 120.0
    assert retried.came_at(Raw(None)) is None
