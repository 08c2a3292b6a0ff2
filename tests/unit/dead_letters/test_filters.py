"""Which dead letters are meant by what users write."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from elsa.dead_letters.filters import Filter, make
from elsa.dead_letters.letter import DeadLetter
from elsa.message import Message

HEADERS = (
    ("elsa-handler", b"shop.bill"),
    ("elsa-error-type", b"shop.errors.NoMoney"),
    ("elsa-reason", b"exhausted"),
)


class NoMoney(Exception):
    pass


def died(**facts: Any) -> DeadLetter:
    given: dict[str, Any] = {"partition": 1, "offset": 7, "key": b"ann", "headers": HEADERS, "timestamp": 1000.0}
    given |= facts
    return DeadLetter.of(Message("t.g.dlq", value=b"v", timestamp_type="create", **given))


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize(
    ("wanted", "is_meant"),
    [
        ({}, True),
        ({"handler": "shop.bill"}, True),
        ({"handler": "bill"}, True),
        ({"handler": "ill"}, False),
        ({"handler": "shop"}, False),
        ({"handler": ["mail", "bill"]}, True),
        ({"handler": ()}, True),
        ({"error": "NoMoney"}, True),
        ({"error": "errors.NoMoney"}, True),
        ({"error": "Money"}, False),
        ({"error": [TimeoutError, "NoMoney"]}, True),
        ({"error": NoMoney}, False),
        ({"reason": "exhausted"}, True),
        ({"reason": "exhaust"}, False),
        ({"key": "ann"}, True),
        ({"key": b"ann"}, True),
        ({"key": "an"}, False),
        ({"since": at(1000)}, True),
        ({"since": at(1000.001)}, False),
        ({"until": at(1000.001)}, True),
        ({"until": at(1000)}, False),
        ({"offsets": [(0, 7), (1, 7)]}, True),
        ({"offsets": [(7, 1)]}, False),
        ({"handler": "bill", "error": "NoMoney", "key": "ann", "since": at(999)}, True),
        ({"handler": "bill", "error": "Timeout"}, False),
    ],
)
def test_everything_given_has_to_fit(wanted: dict[str, Any], *, is_meant: bool) -> None:
    assert make(**wanted).matches(died()) is is_meant


@pytest.mark.parametrize(
    "wanted", [{"handler": "bill"}, {"error": "NoMoney"}, {"reason": "exhausted"}, {"key": "ann"}, {"since": at(0)}]
)
def test_a_message_that_does_not_say_is_not_meant(wanted: dict[str, Any]) -> None:
    assert not make(**wanted).matches(died(headers=(), key=None, timestamp=None))


def test_nothing_given_means_all() -> None:
    assert make() == Filter()


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"since=.* has no time zone: add tzinfo=datetime.UTC"):
        make(since=datetime(2026, 1, 31))  # noqa: DTZ001 - the point


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"since": "x"}, "since='x' is no time: give a datetime"),
        ({"until": 5}, "until=5 is no time"),
        ({"handler": 5}, "handler=5 is neither a handler's name"),
        ({"handler": ["bill", None]}, "is neither a handler's name"),
        ({"handler": b"bill"}, "is neither a handler's name"),
        ({"handler": NoMoney}, "is neither a handler's name"),
        ({"error": 5}, "error=5 is neither an exception class"),
        ({"error": int}, "is neither an exception class"),
        ({"error": [NoMoney, 5]}, "is neither an exception class"),
        ({"reason": {"x": 1}.items()}, "is neither a reason's name"),
        ({"key": 5}, "key=5 is no key"),
        ({"offsets": 5}, r"offsets=5 is no list of \(partition, offset\), like \[\(0, 17\)\]"),
        ({"offsets": [("a", 1)]}, "offsets=.* is no list of"),
        ({"offsets": [(0, 1), (0,)]}, "offsets=.* is no list of"),
        ({"offsets": (0, 17)}, "offsets=.* is no list of"),
        ({"offsets": [(0, -1)]}, "offsets=.* is no list of"),
        ({"offsets": "0:17"}, "offsets='0:17' is no list of"),
    ],
)
def test_what_is_no_filter_is_refused(wanted: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make(**wanted)


def test_no_offsets_do_not_mean_all() -> None:
    with pytest.raises(ValueError, match="offsets= names no dead letter"):
        make(offsets=[])
