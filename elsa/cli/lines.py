"""Messages as lines of text: how `elsa fetch` writes them and how `elsa produce` reads them.

What `fetch --json` prints, `produce --json-lines` takes: bytes that are not UTF-8 are `{"$base64": "..."}`.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from elsa.message import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from elsa.message import Message

#: marks bytes that are no text
BASE64 = "$base64"
_FIELDS = frozenset({"key", "value", "headers", "partition", "timestamp"})
#: what `fetch --json` prints beside these and a producer does not decide
_PLACE = frozenset({"topic", "offset"})


class BadLine(ValueError):
    """A line that is no message: `number` counts from 1, `reason` says why."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number}: {reason}")
        self.number = number
        self.reason = reason


def from_text(lines: Iterable[bytes]) -> Iterator[tuple[int, Record]]:
    """(line number, message) of each line as it is; an empty line is an empty message."""
    for number, line in enumerate(lines, 1):
        yield number, Record(line.removesuffix(b"\n"))


def from_json(lines: Iterable[bytes]) -> Iterator[tuple[int, Record]]:
    """(line number, message) of each line that holds a JSON object; raises BadLine. Blank lines are passed over."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, _record(json.loads(line))
            except (ValueError, TypeError) as error:
                raise BadLine(number, _reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}"
    return "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)


def _record(found: Any) -> Record:
    if not isinstance(found, dict):
        raise TypeError('no JSON object like {"value": ..., "key": ...}')
    unknown = sorted(found.keys() - _FIELDS - _PLACE)
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}: use {', '.join(sorted(_FIELDS))}")
    if "value" not in found:
        raise ValueError('no "value" (null for a tombstone)')
    partition = found.get("partition")
    if partition is not None and (not isinstance(partition, int) or isinstance(partition, bool) or partition < 0):
        raise ValueError(f'"partition" is {partition!r}, no partition number')
    timestamp = found.get("timestamp")
    if timestamp is not None and (not isinstance(timestamp, int | float) or isinstance(timestamp, bool)):
        raise ValueError(f'"timestamp" is {timestamp!r}, no number of seconds since 1970')
    return Record(
        _bytes(found["value"], "value"),
        key=_key(found.get("key")),
        headers=_headers(found.get("headers") or ()),
        partition=partition,
        timestamp=timestamp,
    )


def _bytes(value: Any, field: str) -> bytes | None:
    """Text as it is, null as a tombstone, marked base64 as its bytes, anything else as JSON."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {BASE64}:
        try:
            return base64.b64decode(value[BASE64], validate=True)
        except (binascii.Error, TypeError) as error:
            raise ValueError(f'"{field}" is not valid base64') from error
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _key(value: Any) -> bytes | None:
    if isinstance(value, list) or (isinstance(value, dict) and value.keys() != {BASE64}):
        raise TypeError('"key" is no text, number or null')
    return _bytes(value, "key")


def _headers(value: Any) -> list[tuple[str, bytes | None]]:
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    ):
        raise TypeError('"headers" is no object and no list of [name, value]')
    return [(name, _bytes(content, f"headers.{name}")) for name, content in pairs]


def to_json(message: Message) -> dict[str, Any]:
    """A message as a JSON object; headers as a list of [name, value], timestamp in seconds since 1970."""
    return {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp,
        "key": readable(message.key),
        "value": readable(message.value),
        "headers": [[name, readable(content)] for name, content in message.headers],
    }


def readable(content: bytes | None) -> str | dict[str, str] | None:
    """Bytes for JSON: as text, or marked base64."""
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {BASE64: base64.b64encode(content).decode()}


def to_columns(message: Message) -> tuple[str, str, str, str]:
    """(place, time, key, value) for people: control characters can do no harm to their terminal."""
    time = "-" if message.timestamp is None else to_time(message.timestamp)
    place = f"{message.topic}[{message.partition}]@{message.offset}"
    return place, time, visible(message.key), visible(message.value)


def to_time(timestamp: float) -> str:
    """A time for people, in their own zone."""
    return datetime.fromtimestamp(timestamp, UTC).astimezone().isoformat(sep=" ", timespec="milliseconds")


def visible(content: bytes | None, *, keep: str = "") -> str:
    """Bytes for people, without control characters but those to `keep`."""
    if content is None:
        return "(null)"
    text = content.decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
