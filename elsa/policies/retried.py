"""Messages that are tried again through a retry topic: what their copies carry, how they look on coming back; pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from elsa import headers as names
from elsa.policies import dead_letter, delay

if TYPE_CHECKING:
    from elsa.message import Message
    from elsa.outcome import Outcome

_OWN = dict.fromkeys(
    (names.ORIGIN, names.ORIGIN_AT, names.ATTEMPT, names.HANDLER, names.ERROR_TYPE, names.ERROR_MESSAGE)
)


def headers(
    message: Message,
    outcome: Outcome,
    handler: str,
    *,
    due: float,
    target: str,
    with_error: bool = True,
    with_message: bool = True,
) -> names.Pairs:
    """The copy's headers: the user's own in their order, where it came from, how often it failed, when it is due.

    `target` is `topic` or `topic:partition`, `due` seconds of the epoch.
    """
    pairs = names.without(message.headers, _OWN)
    pairs.append((names.ORIGIN, dead_letter.origin(message).encode()))
    if message.timestamp is not None:
        pairs.append((names.ORIGIN_AT, f"{message.timestamp:.3f}".encode()))
    pairs.append((names.ATTEMPT, str(outcome.attempt).encode()))
    pairs.append((names.HANDLER, handler.encode()))
    if with_error and outcome.error is not None:
        pairs += dead_letter.error_headers(outcome.error, with_message=with_message)
    return delay.envelope(pairs, due=due, target=target)


def attempts(raw: Any) -> int:
    """How many attempts a message has had before it came (back) to this topic, as its header says."""
    return names.number(names.text(raw.headers(), names.ATTEMPT)) or 0


def came_at(raw: Any) -> float | None:
    """When a message was first put on its topic, seconds of the epoch; None when nothing says so."""
    found = delay.seconds(names.text(raw.headers(), names.ORIGIN_AT))
    if found is None:
        kind, milliseconds = raw.timestamp()
        found = milliseconds / 1000 if kind else None
    return found


def as_origin(message: Message) -> Message:
    """The message with the place and time of its origin, as its headers say; as it is when they say nothing legible.

    >>> from elsa.message import Message
    >>> came = Message("orders.billing.retry", 2, 7, None, b"v", (("elsa-origin", b"orders:2:41"),))
    >>> back = as_origin(came)
    >>> back.topic, back.partition, back.offset, back.retry_offset
    ('orders', 2, 41, 7)
    """
    topic, *place = (names.text(message.headers, names.ORIGIN) or "").rsplit(":", 2)
    partition, offset = map(names.number, place) if len(place) == 2 else (None, None)
    if not topic or partition is None or offset is None:
        return dataclasses.replace(message, retry_offset=message.offset)
    timestamp = delay.seconds(names.text(message.headers, names.ORIGIN_AT))
    return dataclasses.replace(
        message,
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp=message.timestamp if timestamp is None else timestamp,
        retry_offset=message.offset,
    )
