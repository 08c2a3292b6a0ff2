"""Durations, sizes, counts and booleans as people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.units import Choice, Duration, Size, Whole, boolean, seconds, size, whole

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (30, 30.0),
        (0, 0.0),
        (".5", 0.5),
        ("1.5 s", 1.5),
        ("250ms", 0.25),
        ("2M", 120.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
    ],
)
def test_a_duration_becomes_seconds(text: Any, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10", 10), ("10b", 10), ("2kB", 2048), ("1.5k", 1536), ("3 MiB", 3 * 1024**2), ("1G", 1024**3)],
)
def test_a_size_becomes_bytes(text: Any, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (seconds, "5 years"),
        (seconds, None),
        (seconds, float("nan")),
        (seconds, float("inf")),
        (seconds, ""),
        (size, -1),
        (size, 1.5),
        (size, "1TB"),
        (boolean, 2),
        (boolean, ""),
        (whole, 1.0),
        (whole, "1.0"),
        (whole, "_1"),
        (Duration(1), "500ms"),
        (Size(1024), "1b"),
        (Whole(1, 5), 6),
        (Whole(), "x"),
        (Choice("a", "b"), "c"),
        (Choice("a", "b"), 1),
    ],
)
def test_what_is_none_of_that_is_refused(read: Callable[[Any], object], value: Any) -> None:
    with pytest.raises(ValueError, match=r"a duration|a size|true or false|a whole number|one of a, b"):
        read(value)
