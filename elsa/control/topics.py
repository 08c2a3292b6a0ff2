"""The two topics of commands and reports: how they are made, by the first worker process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.names import control_topic, status_topic

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.topics import Topics

#: stacks of many threads, snapshots of many partitions
MOST_BYTES = 8 * 1024 * 1024
#: the broker stamps what it appends, so that no command's age depends on two clocks
_STAMPED = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": MOST_BYTES}
_CONTROL = {**_STAMPED, "cleanup.policy": "delete", "retention.ms": 3_600_000}
#: short segments, because the one that is written to is never compacted
_STATUS = {
    **_STAMPED,
    "cleanup.policy": "compact",
    "segment.ms": 600_000,
    "min.cleanable.dirty.ratio": 0.1,
    "delete.retention.ms": 60_000,
}


def create(topics: Topics, settings: Settings) -> None:
    """Make both where they are missing; raises what the broker says."""
    for name, config in ((status_topic(settings.name), _STATUS), (control_topic(settings.name), _CONTROL)):
        topics.create(name, partitions=1, replicas=settings.replication, config=config, exist_ok=True)
