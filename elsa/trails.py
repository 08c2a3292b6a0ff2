"""The spans of sends that go together in a transaction: ended when it is known how that ended.

Used by whoever fires schedules and replays dead letters; a handler's own sends have Deliveries instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa.message import RecordMetadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa import headers as names


class Trails:
    """Of one transaction at a time, of one thread; `trace_send` is an observer's, None when nobody traces."""

    def __init__(self, trace_send: Callable[..., Any] | None) -> None:
        self._trace_send = trace_send
        #: what ends each span, and where its message lies
        self._open: list[tuple[Callable[..., None], list[RecordMetadata]]] = []

    def begin(self, topic: str, headers: names.Pairs) -> tuple[names.Pairs, Callable[[Any], None] | None]:
        """The headers of a message with its trace, and what is to hear where it lies."""
        if self._trace_send is None:
            return headers, None
        pairs, end = self._trace_send(topic, headers)
        places: list[RecordMetadata] = []
        self._open.append((end, places))
        return pairs, lambda raw: places.append(RecordMetadata(topic, raw.partition(), raw.offset()))

    def end(self, error: BaseException | None = None) -> None:
        """The transaction is committed, or was given up because of this."""
        ended, self._open = self._open, []
        for end, places in ended:
            end(places[0] if places and error is None else None, error)
