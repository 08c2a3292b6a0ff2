"""When a message is too old to be run."""

from __future__ import annotations

import pytest

from elsa.policies.expiry import expired


@pytest.mark.parametrize(
    ("header", "came", "limit", "is_expired"),
    [
        (None, None, None, False),
        (b"100.001", None, None, False),
        (b"100.000", None, None, True),
        (b"99", None, None, True),
        # what says nothing legible does not expire
        (b"soon", None, None, False),
        (b"nan", None, None, False),
        (b"\xff", None, None, False),
        (None, 90.0, 10.5, False),
        (None, 90.0, 10.0, True),
        (None, None, 10.0, False),
        # whichever comes first
        (b"200", 90.0, 10.0, True),
        (b"99", 99.0, 10.0, True),
    ],
)
def test_its_header_or_the_limit_of_its_handler_decides(
    header: bytes | None, came: float | None, limit: float | None, *, is_expired: bool
) -> None:
    headers = None if header is None else [("a", b"1"), ("elsa-expires-at", header)]

    assert (expired(headers, now=100.0, came=came, limit=limit) is not None) is is_expired


@pytest.mark.parametrize(("until", "is_expired"), [(None, False), (b"100.001", False), (b"100.000", True)])
def test_of_what_was_replayed_only_its_own_header_counts(until: bytes | None, *, is_expired: bool) -> None:
    headers: list[tuple[str, bytes | None]] = [("elsa-replayed", b"1")]
    if until is not None:
        headers.append(("elsa-expires-at", until))

    assert (expired(headers, now=100.0, came=1.0, limit=1.0) is not None) is is_expired
