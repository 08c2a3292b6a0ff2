"""What a dead-letter copy looks like."""

from __future__ import annotations

from elsa import headers as names
from elsa.message import Message
from elsa.outcome import Kind, Outcome
from elsa.policies import dead_letter


def message(*headers: tuple[str, bytes | None]) -> Message:
    return Message("orders", 2, 17, b"k", b"v", headers)


def raised(text: str) -> ValueError:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_the_copy_says_where_it_came_from_and_why_it_died() -> None:
    outcome = Outcome(Kind.DEAD, reason="exhausted", error=raised("no stock"), attempt=5)
    pairs = dead_letter.headers(message(), outcome, "shop.bill")

    assert names.text(pairs, "elsa-origin") == "orders:2:17"
    assert names.text(pairs, "elsa-handler") == "shop.bill"
    assert names.text(pairs, "elsa-reason") == "exhausted"
    assert names.text(pairs, "elsa-attempt") == "5"
    assert names.text(pairs, "elsa-error-type") == "builtins.ValueError"
    assert names.text(pairs, "elsa-error-message") == "no stock"
    assert "raise ValueError" in (names.text(pairs, "elsa-traceback") or "")


def test_user_headers_are_kept_in_order_with_duplicates() -> None:
    pairs = dead_letter.headers(message(("a", b"1"), ("b", None), ("a", b"2")), Outcome(Kind.DEAD), "h")

    assert pairs[:3] == [("a", b"1"), ("b", None), ("a", b"2")]


def test_the_origin_of_a_message_that_came_back_is_kept() -> None:
    pairs = dead_letter.headers(message(("elsa-origin", b"first:0:1"), ("elsa-attempt", b"9")), Outcome(Kind.DEAD), "h")

    assert [value for name, value in pairs if name == "elsa-origin"] == [b"first:0:1"]
    assert [value for name, value in pairs if name == "elsa-attempt"] == [b"1"]


def test_long_texts_are_cut_without_tearing_characters() -> None:
    pairs = dict(dead_letter.headers(message(), Outcome(Kind.DEAD, error=raised("é" * 5000)), "h"))

    text, trace = pairs["elsa-error-message"], pairs["elsa-traceback"]
    assert text is not None
    assert trace is not None
    assert len(text) <= 512
    assert text.decode() == "é" * 256
    assert len(trace) <= 4096
    trace.decode()


def test_the_traceback_can_be_left_out() -> None:
    outcome = Outcome(Kind.DEAD, error=raised("x"))

    assert names.text(dead_letter.headers(message(), outcome, "h", with_traceback=False), "elsa-traceback") is None


def test_what_the_exception_says_can_be_left_out() -> None:
    outcome = Outcome(Kind.DEAD, reason="exhausted", error=raised("ann@home"))
    pairs = dead_letter.headers(message(), outcome, "h", with_message=False)

    assert names.text(pairs, "elsa-error-type") == "builtins.ValueError"
    assert "raise ValueError(text)" in (names.text(pairs, "elsa-traceback") or "")
    assert b"ann@home" not in b"".join(value or b"" for _, value in pairs)
