"""The forms in which messages may be given."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from elsa.message import Record
from elsa.records import check_payloads, milliseconds, records

ONE = Record(b"v", key="k")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"v", [Record(b"v")]),
        ("v", [Record("v")]),
        (bytearray(b"v"), [Record(b"v")]),
        (("k", b"v"), [ONE]),
        (("k", None), [Record(None, key="k")]),
        ((None, b"v"), [Record(b"v")]),
        (ONE, [ONE]),
        ({"key": "k", "value": b"v"}, [ONE]),
        ({"value": None, "headers": {"h": "1"}}, [Record(None, headers={"h": "1"})]),
        ([], []),
        ((), []),
        (["a", "b"], [Record("a"), Record("b")]),
        ([("k", b"v"), b"w", {"value": "x"}, ONE], [ONE, Record(b"w"), Record("x"), ONE]),
        ((ONE, ONE), [ONE, ONE]),
        ((part for part in ("a", "b")), [Record("a"), Record("b")]),
    ],
)
def test_every_form_is_read(given: Any, expected: list[Record]) -> None:
    assert expected == list(records(given))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (7, "can't produce int"),
        ([7], "can't produce int"),
        ([None], r"a tombstone is elsa.Record\(None, key=...\)"),
        ([("a", "b", "c")], "can't produce tuple"),
        ({"key": "k"}, "needs 'value'"),
        ([{"value": b"v", "vlaue": 1}], "no field 'vlaue'"),
    ],
)
def test_what_is_no_message_is_refused(given: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        list(records(given))


def test_a_part_of_the_wrong_type_is_named() -> None:
    check_payloads(value=None, key=b"k")
    with pytest.raises(TypeError, match="key=5 is int, not bytes, str or None"):
        check_payloads(value="v", key=5)


@pytest.mark.parametrize("wrong", [-1, float("nan"), "5", datetime(2026, 1, 1, tzinfo=UTC)])
def test_a_time_that_is_no_seconds_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="is not seconds since the epoch"):
        milliseconds(wrong)
