"""What the metadata of a commit says of a shard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.schedules import state
from elsa.schedules.declared import MOST_IN_SHARD


@given(st.dictionaries(st.binary(min_size=6, max_size=6), st.integers(0, 2**48 - 1), max_size=state.MOST))
def test_what_is_written_is_read(through: dict[bytes, int]) -> None:
    metadata = state.encode(through)

    assert state.decode(metadata) == through
    assert len(metadata) <= state.MOST_CHARACTERS


def test_a_full_shard_fits_and_the_oldest_go_first_where_there_are_more() -> None:
    many = {number.to_bytes(6): number for number in range(state.MOST + 5)}
    kept = state.decode(state.encode(many))

    assert state.MOST >= MOST_IN_SHARD
    assert kept == {identity: number for identity, number in many.items() if number >= 5}


@pytest.mark.parametrize(
    "metadata", ["", "E1abc", "S1", "S1!!", "S1AAAAAAAA", state.encode({b"abcdef": 1})[:-4], "S1" + "A" * 20]
)
def test_what_is_foreign_or_damaged_says_nothing(metadata: str) -> None:
    assert state.decode(metadata) is None
