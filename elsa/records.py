"""Reads the forms in which messages may be given to `produce`; called by the producer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from elsa.message import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

Payload = bytes | str
#: everything `produce` takes for one message
Form = Payload | Record | tuple[Payload | None, Payload | None] | Mapping[str, Any]

_FIELDS = frozenset({"key", "value", "headers", "timestamp", "partition"})
_FORMS = "bytes, str, (key, value), elsa.Record, a mapping with 'value', or an iterable of these"


def records(messages: Form | Iterable[Form]) -> Iterator[Record]:
    """Every message as a Record, in order.

    A tuple of two bytes or strings is one (key, value) pair, any other iterable holds messages.
    Raises TypeError for what is none of the forms.

    >>> [r.key for r in records([("k", b"v"), b"alone"])]
    ['k', None]
    """
    if isinstance(messages, bytes | bytearray | memoryview | str | Record | Mapping) or _is_pair(messages):
        yield record(messages)
        return
    if not isinstance(messages, Iterable):
        raise TypeError(f"can't produce {type(messages).__name__}: give {_FORMS}")
    for message in messages:
        yield record(message)


def record(message: object) -> Record:
    """One message in any form as a Record; raises TypeError."""
    if isinstance(message, Record):
        return message
    if isinstance(message, bytes | str):
        return Record(message)
    if isinstance(message, bytearray | memoryview):
        return Record(bytes(message))
    if _is_pair(message):
        return Record(message[1], key=message[0])
    if isinstance(message, Mapping):
        return _from_mapping(message)
    if message is None:
        raise TypeError("can't produce None: a tombstone is elsa.Record(None, key=...) or (key, None)")
    raise TypeError(f"can't produce {type(message).__name__}: give {_FORMS}")


def _is_pair(message: object) -> TypeGuard[tuple[Payload | None, Payload | None]]:
    return (
        isinstance(message, tuple)
        and len(message) == 2
        and all(part is None or isinstance(part, bytes | str) for part in message)
    )


def _from_mapping(message: Mapping[str, Any]) -> Record:
    unknown = message.keys() - _FIELDS
    if unknown:
        raise TypeError(f"a message has no field {min(map(str, unknown))!r}: use {', '.join(sorted(_FIELDS))}")
    if "value" not in message:
        raise TypeError("a message given as a mapping needs 'value' (None for a tombstone)")
    return Record(**message)


def check_payloads(**parts: object) -> None:
    """Raise a TypeError that names the part which is neither bytes nor text nor None; Kafka's client does not."""
    for name, part in parts.items():
        if part is not None and not isinstance(part, bytes | bytearray | memoryview | str):
            raise TypeError(f"{name}={part!r} is {type(part).__name__}, not bytes, str or None")


def milliseconds(timestamp: object) -> int:
    """A message's time in seconds as Kafka's milliseconds; raises TypeError for what is none.

    >>> milliseconds(1.5)
    1500
    """
    if not isinstance(timestamp, int | float) or not 0 <= timestamp < float("inf"):
        raise TypeError(f"timestamp={timestamp!r} is not seconds since the epoch (a datetime's are .timestamp())")
    return round(timestamp * 1_000)
