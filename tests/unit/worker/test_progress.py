"""What commit metadata says of finished messages: read back exactly, never too long, and nothing else is understood."""

from __future__ import annotations

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.worker import progress
from elsa.worker.progress import Progress, capacity, decode, encode

offsets = st.sets(st.integers(0, 400), min_size=1, max_size=300)


@given(base=st.integers(0, 2**62), ahead=offsets, attempts=st.dictionaries(st.integers(0, 400), st.integers(1, 10**6)))
def test_what_is_written_is_read_back(base: int, ahead: set[int], attempts: dict[int, int]) -> None:
    missing = [base, *(base + one for one in sorted(ahead - {0}))]
    highest = missing[-1] + 1
    tries = {base + one: count for one, count in attempts.items()}
    text = encode(base, highest, missing, tries)
    assert text is not None
    assert len(text) <= progress.MOST_BYTES
    assert text.isascii()
    found = decode(text, base)

    assert found is not None
    gone = set(missing)
    assert all(found.is_done(offset) == (offset not in gone) for offset in range(base, highest + 1))
    assert not found.is_done(base - 1)
    assert not found.is_done(highest + 1)
    kept = sorted(tries)[: len(found.attempts)]
    assert found.attempts == {offset: tries[offset] for offset in kept}
    assert len(found.attempts) == min(len(tries), 32)


def test_nothing_to_say_is_said_by_nothing() -> None:
    assert encode(5, 4, [], {}) == ""
    assert encode(5, 7, [], {}) == ""
    # of what is committed attempts are of no use
    assert encode(5, 4, [], {3: 2}) == ""


def test_attempts_alone_say_nothing_of_what_is_done() -> None:
    text = encode(5, 4, [], {5: 3})
    assert text
    found = decode(text, 5)

    assert found == Progress(5, 4, frozenset(), {5: 3})
    assert not any(found.is_done(offset) for offset in range(10))


@pytest.mark.parametrize("span", [100, 20_000, 100_000, 10_000_000, 10**9])
def test_whatever_is_admitted_fits(span: int) -> None:
    most = capacity(span) or 30_000
    for count in {1, 2, most // 2, most}:
        if count > span:
            continue
        # evenly spread, and all at the far end: neither is shorter by luck
        spread = [at * span // count for at in range(count)]
        at_end = [0, *range(span - count + 1, span)]
        for missing in (spread, at_end):
            text = encode(0, span, missing, dict.fromkeys(missing[:50], 9))
            assert text is not None, (span, count)
            assert len(text) <= progress.MOST_BYTES


@given(st.integers(20_500, 10**12), st.integers(0, 10**6))
def test_capacity_shrinks_with_the_span(span: int, more: int) -> None:
    first, second = capacity(span), capacity(span + more)

    assert first is not None
    assert second is not None
    assert first >= second >= 600


def test_what_cannot_fit_is_told() -> None:
    assert encode(0, 10**7, list(range(0, 10**7, 1_000)), {}) is None


@given(st.text(max_size=200))
def test_foreign_metadata_is_no_progress(text: str) -> None:
    assert decode(text, 0) is None


@given(st.binary(max_size=80))
def test_damaged_metadata_is_no_progress(data: bytes) -> None:
    assert decode("E1" + base64.b64encode(data).decode(), 0) is None
    # also when somebody has made the checksum fit
    fitting = zlib.crc32(data).to_bytes(4) + data
    found = decode("E1" + base64.b64encode(fitting).decode(), 0)
    assert found is None or found.base == 0


@given(cut=st.integers(0, 20), flip=st.integers(0, 200))
def test_a_cut_or_flipped_text_is_no_progress(cut: int, flip: int) -> None:
    text = encode(7, 90, [7, 9, 50], {7: 2})
    assert text
    at = flip % len(text)
    other = "A" if text[at] != "A" else "B"

    assert decode(text[: len(text) - 1 - cut], 7) is None
    assert decode(text[:at] + other + text[at + 1 :], 7) is None


def test_metadata_of_another_offset_is_no_progress() -> None:
    text = encode(7, 90, [7, 9, 50], {})

    assert decode(text, 8) is None
    assert decode(None, 7) is None
    assert decode("", 7) is None


@pytest.mark.parametrize(("highest", "missing", "attempts"), [(4, [], {}), (9, [5, 7], {}), (4, [], {5: 2})])
def test_a_halt_is_kept_beside_everything_else(highest: int, missing: list[int], attempts: dict[int, int]) -> None:
    text = encode(5, highest, missing, attempts, is_halted=True)
    assert text
    plain = decode(encode(5, highest, missing, attempts), 5) or Progress(5, 4)
    assert not plain.is_halted

    assert decode(text, 5) == Progress(5, highest, frozenset(missing), attempts, is_halted=True)
