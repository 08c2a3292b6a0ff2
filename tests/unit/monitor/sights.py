"""Groups, looks and reports as they would be seen."""

from __future__ import annotations

from typing import Any

from elsa.control.protocol import Status, Tally
from elsa.monitor.look import GroupState, Look, PartitionState, Report


def partition(number: int = 0, *, topic: str = "orders", **facts: Any) -> PartitionState:
    given: dict[str, Any] = {"committed": 5, "low": 0, "end": 8, "lag": 3, "lag_seconds": 12.0, "owner": "it-member"}
    return PartitionState(topic, number, **(given | facts))


def group(*partitions: PartitionState, name: str = "billing", state: str = "stable", members: int = 1) -> GroupState:
    return GroupState(name, state, "classic", members, partitions)


def look(*groups: GroupState, at: float = 1000.0, **facts: Any) -> Look:
    return Look(at, 0.25, groups, **facts)


def tally(handler: str = "shop.bill", **facts: Any) -> Tally:
    return Tally(**({"group": "billing", "topic": "orders", "handler": handler} | facts))


def report(
    stamp: float, *tallies: Tally, before: tuple[float, tuple[Tally, ...]] | None = None, **facts: Any
) -> Report:
    given: dict[str, Any] = {
        "worker": "shop-host-0",
        "host": "host",
        "pid": 7,
        "version": "1",
        "started_at": 1.0,
        "is_ready": True,
        "tallies": list(tallies),
    }
    return Report(stamp, Status(**(given | facts)), before)
