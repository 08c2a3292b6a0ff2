"""What the dead-letter copy of a message looks like: pure, called by settlement."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from elsa import headers as names

if TYPE_CHECKING:
    from elsa.message import Message
    from elsa.outcome import Outcome

MESSAGE_LIMIT = 512
TRACEBACK_LIMIT = 4096
#: what one copy may add to the size of its source: the topic's and the producer's limits allow for it
EXTRA_BYTES = 64 * 1024

_OWN = dict.fromkeys(
    (
        names.ORIGIN,
        names.ERROR_TYPE,
        names.ERROR_MESSAGE,
        names.TRACEBACK,
        names.ATTEMPT,
        names.HANDLER,
        names.REASON,
    )
)


def origin(message: Message) -> str:
    """`topic:partition:offset` of the message as the user knows it."""
    return names.text(message.headers, names.ORIGIN) or f"{message.topic}:{message.partition}:{message.offset}"


def headers(message: Message, outcome: Outcome, handler: str, *, with_traceback: bool = True) -> names.Pairs:
    """The copy's headers: the user's own in their order, then where it came from and why it died."""
    pairs = names.without(message.headers, _OWN)
    pairs.append((names.ORIGIN, origin(message).encode()))
    pairs.append((names.HANDLER, handler.encode()))
    pairs.append((names.REASON, outcome.reason.encode()))
    pairs.append((names.ATTEMPT, str(outcome.attempt).encode()))
    if outcome.error is not None:
        pairs += error_headers(outcome.error)
        if with_traceback:
            text = "".join(traceback.format_exception(outcome.error))
            pairs.append((names.TRACEBACK, _tail(text, TRACEBACK_LIMIT)))
    return pairs


def error_headers(error: BaseException) -> names.Pairs:
    """What kind of error it was and what it said."""
    kind = type(error)
    return [
        (names.ERROR_TYPE, f"{kind.__module__}.{kind.__qualname__}".encode()),
        (names.ERROR_MESSAGE, _head(str(error), MESSAGE_LIMIT)),
    ]


def _head(text: str, limit: int) -> bytes:
    # cut as bytes, then drop a torn character
    return text.encode(errors="replace")[:limit].decode(errors="ignore").encode()


def _tail(text: str, limit: int) -> bytes:
    return text.encode(errors="replace")[-limit:].decode(errors="ignore").encode()
