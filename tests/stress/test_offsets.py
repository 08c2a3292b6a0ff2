from __future__ import annotations

import struct

from tests.stress.offsets import Committed, backward, parse


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


KEY = struct.pack(">h", 1) + _text("billing") + _text("orders") + struct.pack(">i", 3)
EXPECTED = Committed("billing", "orders", 3, 41, 1_700_000_000_000)


def test_commits_of_the_older_format_are_read() -> None:
    value = struct.pack(">hqi", 3, 41, 0) + _text("E1metadata") + struct.pack(">q", 1_700_000_000_000)

    assert parse(KEY, value) == EXPECTED


def test_commits_of_the_newer_format_are_read() -> None:
    metadata = b"m" * 200
    length = bytes([(201 & 0x7F) | 0x80, 201 >> 7])
    value = struct.pack(">hqi", 4, 41, 0) + length + metadata + struct.pack(">q", 1_700_000_000_000) + b"\0"

    assert parse(KEY, value) == EXPECTED


def test_what_is_no_commit_is_left_out() -> None:
    assert parse(KEY, None) is None
    assert parse(struct.pack(">h", 2) + _text("billing"), b"members") is None


def test_an_offset_that_goes_back_is_found() -> None:
    first, second, third = (Committed("g", "t", 0, offset, 0) for offset in (5, 9, 7))
    other = Committed("g", "t", 1, 1, 0)

    assert backward([first, other, second, other]) == []
    assert backward([first, second, other, third]) == [(second, third)]
