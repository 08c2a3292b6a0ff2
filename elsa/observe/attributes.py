"""What spans say of messages, places and errors, by the semantic conventions for messaging 1.44; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Link, Status, StatusCode

from elsa import headers as names
from elsa.observe.context import extract, header, origin, span_context
from elsa.policies import delay

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from opentelemetry import trace

    from elsa.message import Headers, Message

#: characters of an exception's text kept as a span's status
MAX_DESCRIPTION = 512


def server(brokers: str) -> dict[str, Any]:
    """The first broker of a list."""
    host, _, port = brokers.partition(",")[0].strip().rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return {"server.address": f"{host}:{port}" if host else port} if host or port else {}
    return {"server.address": host.strip("[]"), "server.port": int(port)}


def operation(name: str, kind: str | None = None) -> dict[str, Any]:
    """What is done, in the two forms that there are."""
    return {"messaging.operation.name": name, "messaging.operation.type": kind or name}


def of_message(message: Message, extras: Collection[str] = ()) -> dict[str, Any]:
    """What differs between the messages of a batch; `extras` are `key` and `body_size`."""
    found: dict[str, Any] = {"messaging.kafka.offset": message.offset}
    if message.value is None:
        found["messaging.kafka.message.tombstone"] = True
    if (identity := header(message.headers, names.ID)) is not None:
        found["messaging.message.id"] = identity
    if message.retry_offset is not None:
        found["elsa.retry_offset"] = message.retry_offset
    if "key" in extras and message.key is not None and (key := _text(message.key)) is not None:
        found["messaging.kafka.message.key"] = key
    if "body_size" in extras:
        found["messaging.message.body.size"] = len(message.value or b"")
    return found


def waited(message: Message, now: float) -> dict[str, Any]:
    """Milliseconds since a message came, or was due; nothing when nobody says when that was."""
    since = delay.due_at(message.headers)
    since = message.timestamp if since is None else since
    return {} if since is None else {"elsa.queue_wait_ms": max(0, round((now - since) * 1000))}


def links(source: trace.SpanContext, headers: Headers) -> list[Link]:
    """To the span that has sent a message, and to where its trace began if that was another one."""
    found = [Link(source)] if source.is_valid else []
    first = origin(headers)
    if first.is_valid and first.span_id != source.span_id:
        found.append(Link(first, {"elsa.link": "origin"}))
    return found


def links_of_batch(messages: Sequence[Message], extras: Collection[str] = ()) -> list[Link]:
    """One to each message that has a trace, with what differs between them."""
    found = []
    for message in messages:
        source = span_context(extract(message.headers))
        if source.is_valid:
            found.append(Link(source, of_message(message, extras)))
    return found


def fail(span: trace.Span, error: BaseException) -> None:
    """A span ends with an error."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    span.set_attribute("error.type", getattr(error, "code", "") or name)
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, str(error)[:MAX_DESCRIPTION]))


def _text(key: bytes) -> str | None:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None
