"""Names of the headers that Elsa writes; all values are UTF-8 text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ID = "elsa-id"
TASK = "elsa-task"
SENT_AT = "elsa-sent-at"
ATTEMPT = "elsa-attempt"
ORIGIN = "elsa-origin"
ORIGIN_AT = "elsa-origin-at"
ERROR_TYPE = "elsa-error-type"
ERROR_MESSAGE = "elsa-error-message"
TRACEBACK = "elsa-traceback"
HANDLER = "elsa-handler"
REASON = "elsa-reason"
DUE_AT = "elsa-due-at"
EXPIRES_AT = "elsa-expires-at"
TARGET = "elsa-target"
#: somebody wants it handled, however old it is: limits on age do not count, its own `elsa-expires-at` does
REPLAYED = "elsa-replayed"
SCHEDULED_AT = "elsa-scheduled-at"
#: the trace that a message began in, of copies that have another one by now
ORIGIN_TRACEPARENT = "elsa-origin-traceparent"
#: `link`: whoever handles the message begins a trace of its own, with a link to the message's
TRACE = "elsa-trace"
LINK = "link"
CONTENT_TYPE = "content-type"

Pairs = list[tuple[str, bytes | None]]


def pairs(headers: object) -> Pairs:
    """Headers in any accepted form (mapping, pairs, None) as a list of pairs; order and duplicates kept.

    >>> pairs({"a": "1"})
    [('a', b'1')]
    """
    if not headers:
        return []
    items: Iterable[tuple[str, object]]
    items = headers.items() if hasattr(headers, "items") else headers  # type: ignore[assignment]  # checked by use
    if isinstance(headers, str | bytes):
        raise TypeError(f"headers={headers!r} is neither a mapping nor a list of (name, value) pairs")
    return [(_name(name), _value(name, value)) for name, value in items]


def _name(name: object) -> str:
    if isinstance(name, str):
        return name
    raise TypeError(f"the header's name {name!r} is {type(name).__name__}, not str")


def _value(name: str, value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"header {name!r} is {type(value).__name__}, not bytes, str or None")


def text(headers: Iterable[tuple[str, bytes | None]] | None, name: str) -> str | None:
    """The last header of that name as text, or None when it is absent or not UTF-8."""
    found = None
    for key, value in headers or ():
        if key == name and value is not None:
            found = value
    if found is None:
        return None
    try:
        return found.decode()
    except UnicodeDecodeError:
        return None


def is_replayed(headers: Iterable[tuple[str, bytes | None]] | None) -> bool:
    """Whether it is a replayed dead letter, for which no limit on age counts.

    >>> is_replayed([("elsa-replayed", b"1")]), is_replayed(None)
    (True, False)
    """
    return text(headers, REPLAYED) is not None


def number(text: str | None) -> int | None:
    """A header's whole number, of 18 digits at most; None for anything else.

    >>> number("41"), number("-1"), number("9" * 5_000)
    (41, None, None)
    """
    if text is None or len(text) > 18 or not (text.isascii() and text.isdecimal()):
        return None
    return int(text)


def without(headers: Iterable[tuple[str, bytes | None]], names: Mapping[str, object]) -> Pairs:
    """The pairs whose names are not in `names`."""
    return [pair for pair in headers if pair[0] not in names]
