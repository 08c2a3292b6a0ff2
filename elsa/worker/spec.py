"""What a supervisor tells each worker process at its start; made by the command, read by the process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """The same for all processes of one supervisor; `options` are settings that win over the App's own.

    `max_messages` counts those of all processes together; None of `log_level` and `json_logs` leaves them to the App.
    """

    target: str
    options: Mapping[str, Any] = field(default_factory=dict)
    topics: Sequence[str] = ()
    #: how topics share the places of a pool, by topic; empty: every handler has its own
    weights: Mapping[str, float] = field(default_factory=dict)
    exclude: Sequence[str] = ()
    burst: bool = False
    max_messages: int | None = None
    log_level: str | None = None
    json_logs: bool | None = None

    def message(
        self, *, index: int, processes: int, slot: int | None = None, positions: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The `spec` message for the process `index` of `processes`."""
        return {
            "type": "spec",
            "target": self.target,
            "options": dict(self.options),
            "topics": list(self.topics),
            "weights": dict(self.weights),
            "exclude": list(self.exclude),
            "index": index,
            "processes": processes,
            "slot": slot,
            "burst": self.burst,
            "max_messages": share(self.max_messages, processes, index),
            "max_messages_total": self.max_messages,
            "log_level": self.log_level,
            "json_logs": self.json_logs,
            "positions": dict(positions),
        }


def share(total: int | None, processes: int, index: int) -> int | None:
    """How many of `total` messages the process `index` of `processes` handles.

    >>> [share(10, 3, index) for index in range(3)]
    [4, 3, 3]
    """
    if total is None:
        return None
    return total // processes + (1 if index < total % processes else 0)
