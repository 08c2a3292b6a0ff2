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


def headers(
    message: Message, outcome: Outcome, handler: str, *, with_traceback: bool = True, with_message: bool = True
) -> names.Pairs:
    """The copy's headers: the user's own in their order, then where it came from and why it died.

    What the exception says may be personal: without `with_message` only its type and the lines of code are told.
    """
    pairs = names.without(message.headers, _OWN)
    pairs.append((names.ORIGIN, origin(message).encode()))
    pairs.append((names.HANDLER, handler.encode()))
    pairs.append((names.REASON, outcome.reason.encode()))
    pairs.append((names.ATTEMPT, str(outcome.attempt).encode()))
    if outcome.error is not None:
        pairs += error_headers(outcome.error, with_message=with_message)
        if with_traceback:
            frames = traceback.format_exception(outcome.error) if with_message else _frames(outcome.error)
            text = "".join(frames)
            pairs.append((names.TRACEBACK, _tail(text, TRACEBACK_LIMIT)))
    return pairs


def error_headers(error: BaseException, *, with_message: bool = True) -> names.Pairs:
    """What kind of error it was and what it said."""
    pairs: names.Pairs = [(names.ERROR_TYPE, _kind(error).encode())]
    if with_message:
        pairs.append((names.ERROR_MESSAGE, _head(str(error), MESSAGE_LIMIT)))
    return pairs


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _frames(error: BaseException) -> list[str]:
    return ["Traceback (most recent call last):\n", *traceback.format_tb(error.__traceback__), f"{_kind(error)}\n"]


def _head(text: str, limit: int) -> bytes:
    # cut as bytes, then drop a torn character
    return text.encode(errors="replace")[:limit].decode(errors="ignore").encode()


def _tail(text: str, limit: int) -> bytes:
    return text.encode(errors="replace")[-limit:].decode(errors="ignore").encode()
