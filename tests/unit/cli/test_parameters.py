"""How shared options read their values."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click
import pytest

from elsa.cli.parameters import LetterPlace, Moment, Pair, Place, Rate, Seconds


@pytest.mark.parametrize("text", ["earliest", "latest"])
def test_the_ends_of_a_topic_are_places(text: str) -> None:
    assert Place().convert(text, None, None) == text


def test_a_number_is_an_offset() -> None:
    assert Place().convert("42", None, None) == 42


def test_a_time_with_a_zone_is_taken_as_it_is() -> None:
    assert Place().convert("2026-01-31T08:00:00Z", None, None) == datetime(2026, 1, 31, 8, tzinfo=UTC)


def test_a_time_without_a_zone_is_local() -> None:
    found = Place().convert("2026-01-31T08:00", None, None)

    assert isinstance(found, datetime)
    assert found == datetime(2026, 1, 31, 8).astimezone()


def test_a_time_ago_is_counted_from_now() -> None:
    before = time.time()
    found = Place().convert("-1h", None, None)
    after = time.time()

    assert isinstance(found, datetime)
    assert before - 3600.001 <= found.timestamp() <= after - 3599.999


@pytest.mark.parametrize("text", ["yesterday", "-5", "", "1.5", "-1y"])
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(click.BadParameter, match="none of earliest, latest, an offset"):
        Place().convert(text, None, None)


def test_a_duration_has_a_unit_or_is_in_seconds() -> None:
    assert [Seconds().convert(text, None, None) for text in ("2", "500ms", "1m")] == [2.0, 0.5, 60.0]
    with pytest.raises(click.BadParameter, match="'soon' is not a duration"):
        Seconds().convert("soon", None, None)


def test_a_pair_is_split_at_its_first_equals_sign() -> None:
    assert Pair().convert("a=b=c", None, None) == ("a", "b=c")
    assert Pair().convert("a=", None, None) == ("a", "")


@pytest.mark.parametrize("text", ["a", "=b", ""])
def test_half_a_pair_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not name=value"):
        Pair().convert(text, None, None)


def test_a_moment_is_a_time_or_ago_and_nothing_else() -> None:
    assert Moment().convert("2026-01-31T08:00:00Z", None, None) == datetime(2026, 1, 31, 8, tzinfo=UTC)
    assert Moment().convert("-1h", None, None).timestamp() < time.time() - 3599
    for wrong in ("earliest", "42", "yesterday", ""):
        with pytest.raises(click.BadParameter, match="is neither a time"):
            Moment().convert(wrong, None, None)


@pytest.mark.parametrize(("text", "expected"), [("100", 100.0), ("0.5", 0.5), ("30/m", 0.5), ("100/s", 100.0)])
def test_a_rate_is_so_many_a_second(text: str, expected: float) -> None:
    assert Rate().convert(text, None, None) == expected


@pytest.mark.parametrize("text", ["0", "-1", "fast", "", "1/x", "1.2.3"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no rate above 0"):
        Rate().convert(text, None, None)


def test_a_place_of_a_dead_letter() -> None:
    assert LetterPlace().convert("3:17", None, None) == (3, 17)
    for wrong in ("3", "3:", ":17", "3:17:1", "a:1", "-1:2"):
        with pytest.raises(click.BadParameter, match="is not partition:offset"):
            LetterPlace().convert(wrong, None, None)
