"""What a supervisor reports: events for the log, and numbers for its metrics endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from logging import getLogger
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_log = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """Something for the log: `text` is constant for each kind, `facts` differ; `level` is that of `logging`."""

    kind: str
    level: int
    text: str
    facts: Mapping[str, Any]


class Reporter:
    """Hands events to whoever shows them, and survives that."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event

    def tell(self, kind: str, level: int, text: str, **facts: Any) -> None:
        """Report one event."""
        try:
            self._on_event(Event(kind, level, text, facts))
        except Exception:
            # the border to whoever shows events: a full disk or a closed terminal must not cost the workers
            _log.exception("an event could not be shown", extra={"event": "event_failed", "kind": kind})


class Telemetry(Protocol):
    """What the supervisor's loop tells its metrics endpoint."""

    def update(self, index: int, packed: str) -> None: ...
    def ended(self, index: int) -> None: ...
    def restarted(self, reason: str) -> None: ...
