"""Whether a message is too old to be run: a pure decision, called by the delivery before each attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa import headers as names
from elsa.policies import delay

if TYPE_CHECKING:
    from collections.abc import Iterable


def expired(
    headers: Iterable[tuple[str, bytes | None]] | None, *, now: float, came: float | None, limit: float | None
) -> str | None:
    """Why a message is not to be run any more, None when it is.

    Its own `elsa-expires-at` decides, and `limit`, seconds since it `came` to its topic, unless it was replayed; a
    message that says nothing legible does not expire by itself. Times are seconds of the epoch.

    >>> expired([("elsa-expires-at", b"100.0")], now=101.5, came=None, limit=None)
    'it expired 1.5 s ago'
    >>> expired(None, now=101.5, came=90.0, limit=10.0)
    'it is 11.5 s old, and 10 s are the limit'
    """
    until = delay.seconds(names.text(headers, names.EXPIRES_AT))
    if until is not None and now >= until:
        return f"it expired {now - until:.1f} s ago"
    if limit is not None and came is not None and now - came >= limit and not names.is_replayed(headers):
        return f"it is {now - came:.1f} s old, and {limit:g} s are the limit"
    return None
