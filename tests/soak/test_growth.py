"""The rule by which `make soak` judges memory."""

from __future__ import annotations

import random

import pytest

from tests.soak.growth import growth

TIMES = [float(second) for second in range(600)]


def test_noise_around_a_level_is_flat() -> None:
    noise = random.Random(1)
    found = growth(TIMES, [150 + noise.uniform(-8, 8) for _ in TIMES])

    assert found.is_flat
    assert found.level == pytest.approx(150, abs=1)


def test_a_warm_up_in_the_first_half_does_not_count() -> None:
    assert growth(TIMES, [min(150.0, 50 + second) for second in TIMES]).is_flat


def test_a_slow_leak_is_seen() -> None:
    """30 bytes for each of 2,000 messages a second."""
    found = growth(TIMES, [150 + second * 0.06 for second in TIMES])

    assert not found.is_flat
    assert found.gained == pytest.approx(18, abs=0.2)


def test_what_shrinks_is_flat() -> None:
    assert growth(TIMES, [500 - second / 2 for second in TIMES]).is_flat


def test_too_few_values_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="make no line"):
        growth([0.0, 1.0, 2.0], [1.0, 1.0, 1.0])


def test_a_short_run_is_not_judged() -> None:
    found = growth(TIMES[:120], [100 + second for second in TIMES[:120]])

    assert found.gained == pytest.approx(59)
    assert not found.is_judged
    assert found.is_flat
