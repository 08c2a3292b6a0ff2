"""What is sent again carries the user's headers and the origin, and nothing of its death."""

from __future__ import annotations

import pytest

from elsa.dead_letters.copies import Edit, headers
from elsa.message import Message
from elsa.outcome import Kind, Outcome
from elsa.policies import dead_letter, retried

USER = (("a", b"1"), ("elsa-id", b"i"), ("b", None), ("a", b"2"), ("content-type", b"text/plain"))
REPLAYED = ("elsa-replayed", b"1")


def test_a_message_that_was_tried_again_and_died_looks_as_it_did_at_first() -> None:
    first = Message("orders", 3, 17, b"k", b"v", USER, 1000.0)
    failed = Outcome(Kind.RETRY, error=TimeoutError("x"), attempt=1, delay=1.0)
    # through the delay and retry topics, then to the dead letters
    later = tuple(retried.headers(first, failed, "bill", due=2000.0, target="orders.g.retry:3"))
    again = Message("orders", 3, 17, b"k", b"v", later, 1000.0)
    dead = Outcome(Kind.DEAD, error=TimeoutError("x"), attempt=2, reason="exhausted")
    died = dead_letter.headers(again, dead, "bill")

    assert headers(died, Edit()) == [*USER, ("elsa-origin", b"orders:3:17"), REPLAYED]
    assert headers(died, Edit(), with_origin=False) == [*USER, REPLAYED]


def test_what_somebody_replays_is_run_however_late_it_is() -> None:
    died = (*USER, ("elsa-expires-at", b"1000.000"), ("elsa-reason", b"expired"))

    assert headers(died, Edit()) == [*USER, REPLAYED]
    # once more, and with another time
    again = (*died, REPLAYED)
    expires = ("elsa-expires-at", b"3000.000")
    assert headers(again, Edit.make({"elsa-expires-at": "3000.000"})) == [*USER, expires, REPLAYED]
    assert headers(again, Edit.make(drop_headers="elsa-replayed")) == [*USER]


def test_what_is_set_replaces_all_of_a_name_and_dropped_goes_first() -> None:
    edit = Edit.make(set_headers=[("a", "3"), ("c", None), ("a", b"4")], drop_headers=["b", "a", "no such"])

    assert headers(USER, edit) == [
        ("elsa-id", b"i"),
        ("content-type", b"text/plain"),
        ("a", b"3"),
        ("c", None),
        ("a", b"4"),
        REPLAYED,
    ]


def test_one_name_may_be_dropped_without_a_list() -> None:
    assert Edit.make(drop_headers="abc").drop == ("abc",)


@pytest.mark.parametrize("wrong", ["a=1", [("a", 1)], {1: "a"}])
def test_headers_of_no_accepted_form_are_refused(wrong: object) -> None:
    with pytest.raises(TypeError):
        Edit.make(set_headers=wrong)


@pytest.mark.parametrize("wrong", [5, None, b"abc", ["a", 1]])
def test_names_of_headers_that_are_none_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"drop_headers=.* is neither a header's name nor a list of names"):
        Edit.make(drop_headers=wrong)
