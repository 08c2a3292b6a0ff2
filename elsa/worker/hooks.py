"""Calls the user's hooks: whatever they raise is logged and counted, never fatal."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elsa.errors import RejectAssignment

if TYPE_CHECKING:
    from elsa.app import App
    from elsa.message import TopicPartition

log = logging.getLogger("elsa.worker")


@dataclass(frozen=True, slots=True)
class AssignmentContext:
    """What an `on_assigned` hook gets, once for each partition."""

    app: Any
    group: str | None
    topic: str
    partition: int
    generation: int | None


def call(app: App, event: str, *args: Any) -> None:
    """Run all hooks of an event in the order of their declaration."""
    for hook in app.hooks[event]:
        try:
            hook(*args)
        except Exception:  # border: user code in the group manager's thread must not end it
            log.exception("hook failed", extra={"event": "hook_failed", "hook": f"on_{event}"})


def assigned(app: App, group: str | None, partition: TopicPartition, generation: int | None) -> str | None:
    """Run the `on_assigned` hooks of a partition; the reason when one of them rejects it."""
    context = AssignmentContext(app, group, partition.topic, partition.partition, generation)
    for hook in app.hooks["assigned"]:
        try:
            hook(context)
        except RejectAssignment as veto:
            log.warning(
                "partition rejected by a hook: it is not processed while it is assigned here",
                extra={
                    "event": "assignment_rejected",
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "reason": veto.reason,
                },
            )
            return veto.reason
        except Exception:  # border: see call
            log.exception("hook failed", extra={"event": "hook_failed", "hook": "on_assigned"})
    return None
