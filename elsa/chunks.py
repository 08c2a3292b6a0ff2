"""Splits messages into chunks of a limited size in bytes; for users who hand batches on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from elsa import headers
from elsa.records import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: bytes that each message counts on top of key, value and headers
OVERHEAD = 10
T = TypeVar("T")


def message_size(message: Any) -> int:
    """Bytes of key, value and headers of a message in any form of `produce` (or a consumed one), plus 10.

    >>> message_size(("k", b"value"))
    16
    """
    if not hasattr(message, "headers"):
        message = record(message)
    pairs = headers.pairs(message.headers)
    in_headers = sum(len(name.encode()) + len(value or b"") for name, value in pairs)
    return _length(message.key) + _length(message.value) + in_headers + OVERHEAD


def chunk_by_bytes(
    items: Iterable[T], limit: int = 900_000, size: Callable[[T], int] = message_size
) -> Iterator[list[T]]:
    """Lists of items in order, each strictly under `limit` bytes in all; an oversize item stands alone.

    Lazy: takes an item only when it is needed. No chunk is ever empty.

    >>> [len(chunk) for chunk in chunk_by_bytes("abcdefghijklmnopqrstuvwxyz", limit=100)]
    [9, 9, 8]
    """
    if limit <= 0:
        raise ValueError(f"the limit of a chunk is {limit} bytes, it must be above 0")
    chunk: list[T] = []
    total = 0
    for item in items:
        length = size(item)
        if chunk and total + length >= limit:
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += length
    if chunk:
        yield chunk


def _length(part: bytes | str | None) -> int:
    return len(part.encode()) if isinstance(part, str) else len(part or b"")
