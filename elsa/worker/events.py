"""What a supervisor reports: events for the log, and numbers for its metrics endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Event:
    """Something for the log: `text` is constant for each kind, `facts` differ; `level` is that of `logging`."""

    kind: str
    level: int
    text: str
    facts: Mapping[str, Any]


class Telemetry(Protocol):
    """What the supervisor's loop tells its metrics endpoint."""

    def update(self, index: int, snapshot: Sequence[Any]) -> None: ...
    def ended(self, index: int) -> None: ...
    def restarted(self, reason: str) -> None: ...
