"""Groups as plain mappings, for JSON: the same in `/statusz`, `elsa lag` and `elsa top`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.monitor.grades import Grade, Key
    from elsa.monitor.look import GroupState


def group_document(group: GroupState, grades: Mapping[Key, Grade] | None = None) -> dict[str, Any]:
    """A group with its partitions; with `grades` each of them has its grade, ok where it is not known yet."""
    partitions = []
    for each in group.partitions:
        row = dataclasses.asdict(each) | {"lag_seconds": rounded(each.lag_seconds)}
        if grades is not None:
            row["grade"] = grades.get((group.name, each.topic, each.partition), "ok")
        partitions.append(row)
    return {
        "group": group.name,
        "state": group.state,
        "protocol": group.protocol,
        "members": group.members,
        "lag": group.lag,
        "lag_seconds": rounded(group.oldest_seconds),
        "partitions": partitions,
    }


def rounded(seconds: float | None) -> float | None:
    """To milliseconds, where it is known."""
    return None if seconds is None else round(seconds, 3)
