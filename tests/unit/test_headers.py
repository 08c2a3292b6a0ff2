"""Headers in every accepted form."""

from __future__ import annotations

import pytest

from elsa import headers


def test_mappings_and_pairs_become_pairs_and_keep_duplicates() -> None:
    assert headers.pairs({"a": "1", "b": None}) == [("a", b"1"), ("b", None)]
    assert headers.pairs([("a", b"1"), ("a", "2")]) == [("a", b"1"), ("a", b"2")]
    assert headers.pairs(None) == []


def test_a_header_of_another_type_is_named() -> None:
    with pytest.raises(TypeError, match="header 'n' is int, not bytes, str or None"):
        headers.pairs({"n": 1})


def test_what_is_no_header_is_named() -> None:
    with pytest.raises(TypeError, match="headers='abc' is neither a mapping nor a list of"):
        headers.pairs("abc")
    with pytest.raises(TypeError, match="the header's name 5 is int, not str"):
        headers.pairs({5: "a"})


def test_the_last_header_of_a_name_wins() -> None:
    assert headers.text([("a", b"1"), ("a", b"2")], "a") == "2"


def test_a_header_that_is_no_text_is_none() -> None:
    assert headers.text([("a", b"\xff")], "a") is None
    assert headers.text(None, "a") is None
