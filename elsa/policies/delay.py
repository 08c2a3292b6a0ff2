"""Which delay topic a message goes to next: pure, called by senders, the settlement and the mover.

A delay topic holds its messages for one fixed time, so the first of a partition is always the next one due. A wait is
made of these times, the longest that fits first; a message is never let go before `due`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elsa import headers as names
from elsa.names import delay_topic, legal

if TYPE_CHECKING:
    from collections.abc import Iterable

#: seconds that a message stays in the delay topic of that name, ascending
TIERS = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536)
#: longest wait for another try of what its target does not take now
PATIENCE_SECONDS = 64
ERROR_LIMIT = 512
#: why the mover has given a message up
UNDELIVERABLE = "undeliverable"
#: above it no client takes a partition's number
_MOST_PARTITIONS = 10**9
_OWN = dict.fromkeys((names.DUE_AT, names.TARGET))
_LAST = {names.TARGET: None}
_WHY = dict.fromkeys((names.REASON, names.ERROR_MESSAGE))
#: what is left of the headers when a message is kept without its body
_STUB = (names.ID, names.TASK, names.SENT_AT, names.DUE_AT, names.EXPIRES_AT, names.TARGET)


def tier(seconds: float) -> int | None:
    """The delay topic for a message that has to wait so long; None when it is due.

    What is left of the last second waits a whole one: a message may be late by that, and is never early.

    >>> tier(90), tier(0.2), tier(0), tier(10**7)
    (64, 1, None, 65536)
    """
    if seconds <= 0:
        return None
    return max((one for one in TIERS if one <= seconds), default=TIERS[0])


def hops(seconds: float) -> list[int]:
    """All delay topics of a wait, one after the other, if each lets go exactly on time.

    >>> hops(90)
    [64, 16, 4, 4, 1, 1]
    """
    found = []
    while (one := tier(seconds)) is not None:
        found.append(one)
        seconds -= one
    return found


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a message goes next, with the headers that it has there."""

    topic: str
    partition: int | None
    headers: names.Pairs
    #: it has waited enough
    is_last: bool


def envelope(headers: Iterable[tuple[str, bytes | None]], *, due: float, target: str) -> names.Pairs:
    """The headers of a message that is to be at `target` (`topic` or `topic:partition`) at `due`.

    `due` is in seconds of the epoch.
    """
    pairs = names.without(headers, _OWN)
    # rounded up, for it must not be early
    pairs.append((names.DUE_AT, f"{math.ceil(due * 1000) / 1000:.3f}".encode()))
    pairs.append((names.TARGET, target.encode()))
    return pairs


def next_hop(headers: Iterable[tuple[str, bytes | None]], *, now: float, app: str) -> Hop | None:
    """What comes after a delay topic; None for a message that is none of ours: it does not say when and where to.

    >>> hop = next_hop(envelope([("a", b"1")], due=100.0, target="orders:3"), now=100.0, app="shop")
    >>> hop.topic, hop.partition, hop.headers
    ('orders', 3, [('a', b'1'), ('elsa-due-at', b'100.000')])
    >>> next_hop(envelope([], due=100.0, target="orders"), now=30.0, app="shop").topic
    'shop.delay.64'
    """
    pairs = list(headers)
    due, target = due_at(pairs), names.text(pairs, names.TARGET)
    if due is None or not target:
        return None
    seconds = tier(due - now)
    if seconds is not None:
        return Hop(delay_topic(app, seconds), None, pairs, is_last=False)
    place = parse_target(target)
    return None if place is None else Hop(*place, names.without(pairs, _LAST), is_last=True)


def parse_target(text: str) -> tuple[str, int | None] | None:
    """`topic` or `topic:partition` read; None for anything else.

    >>> parse_target("orders:3"), parse_target("orders"), parse_target("orders:x")
    (('orders', 3), ('orders', None), None)
    """
    topic, _, number = text.partition(":")
    partition = names.number(number)
    if not topic or legal(topic) != topic or (topic != text and (partition is None or partition >= _MOST_PARTITIONS)):
        return None
    return topic, partition


def target(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The topic that a message on its way goes to in the end; None for one that is on no way.

    >>> target(envelope([], due=100.0, target="orders:3"))
    'orders'
    """
    found = names.text(headers, names.TARGET)
    if not found:
        return None
    topic, colon, number = found.rpartition(":")
    return topic if colon and number.isdecimal() else found


def postponed(due: float | None, *, now: float, app: str) -> str:
    """The delay topic of another try: the longer a message is overdue, the longer it waits; a minute at most.

    >>> postponed(100.0, now=101.0, app="shop"), postponed(100.0, now=500.0, app="shop")
    ('shop.delay.1', 'shop.delay.64')
    """
    overdue = PATIENCE_SECONDS if due is None else max(1.0, now - due)
    return delay_topic(app, tier(min(overdue, PATIENCE_SECONDS)) or TIERS[0])


def undeliverable(
    headers: Iterable[tuple[str, bytes | None]], *, why: str, origin: str, is_stub: bool = False
) -> names.Pairs:
    """The headers of a message that is kept because it cannot be delivered; a stub has only those of Elsa."""
    pairs = names.without(headers, _WHY)
    if is_stub:
        pairs = [pair for pair in pairs if pair[0] in _STUB]
    if names.text(pairs, names.ORIGIN) is None:
        pairs.append((names.ORIGIN, origin.encode()))
    pairs.append((names.REASON, UNDELIVERABLE.encode()))
    # cut as bytes, then drop a torn character
    pairs.append((names.ERROR_MESSAGE, why.encode(errors="replace")[:ERROR_LIMIT].decode(errors="ignore").encode()))
    return pairs


def due_at(headers: Iterable[tuple[str, bytes | None]] | None) -> float | None:
    """When a message is to be delivered, seconds of the epoch; None when nothing (readable) says so."""
    return seconds(names.text(headers, names.DUE_AT))


def seconds(text: str | None) -> float | None:
    """A header's time, seconds of the epoch; None for what is none."""
    if text is None:
        return None
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
