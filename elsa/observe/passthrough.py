"""Hands traces on without making spans: for `trace_passthrough`, and in child processes that have no provider.

The trace of a message is current while its handler runs, so that what it sends, and logs, belongs to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from elsa.observe.context import extract, inject
from elsa.observer import HandlerObserver, Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from elsa import headers as names
    from elsa.message import Message


class PassThrough(Observer):
    """Needs the API of OpenTelemetry alone; of the baggage only listed keys pass."""

    def __init__(self, baggage: Sequence[str] = ()) -> None:
        self._baggage = tuple(baggage)
        self.trace_send = self._trace_send

    def handler(self, group: str | None, topic: str, handler: str) -> HandlerObserver:  # noqa: ARG002 - the seam
        observer = HandlerObserver()
        observer.span = self._around
        return observer

    def _around(self, messages: Sequence[Message], attempt: int) -> _Around:  # noqa: ARG002 - the seam
        # the messages of a batch have a trace each, so their call has none
        return _Around(extract(messages[0].headers, self._baggage) if len(messages) == 1 else Context())

    def _trace_send(
        self,
        topic: str,  # noqa: ARG002 - the seam
        headers: Mapping[str, Any] | Iterable[tuple[str, Any]],
    ) -> tuple[names.Pairs, Callable[[object, object], None]]:
        return inject(headers, baggage=self._baggage), _nothing


class _Around:
    """What is current while a handler runs."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._token: Any = None

    def __enter__(self) -> Self:
        self._token = otel_context.attach(self._context)
        return self

    def outcome(self, name: str, error: BaseException | None = None) -> None:
        """Nobody draws it."""

    def __exit__(self, *_: object) -> None:
        otel_context.detach(self._token)


def _nothing(_metadata: object, _error: object) -> None:
    """There is no span to end."""
