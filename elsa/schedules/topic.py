"""The topic of an App's schedules: nothing is ever written to it, its partitions only say who fires what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.errors import UnknownTopic
from elsa.names import schedules_topic
from elsa.schedules.declared import SHARDS

if TYPE_CHECKING:
    from elsa.app import App


def partition_count(app: App) -> int:
    """How many partitions the topic has, 0 when there is none; raises what the broker says."""
    try:
        return app.topics.partition_count(schedules_topic(app.name))
    except UnknownTopic:
        return 0


def create(app: App) -> None:
    """Ask for the topic and do not wait for it; raises what the broker says."""
    app.topics.create(
        schedules_topic(app.name), partitions=SHARDS, replicas=app.settings.replication, exist_ok=True, wait=False
    )


def obstacle(name: str, count: int) -> tuple[str, str]:
    """What is wrong with a topic of so many partitions, and what to do about it."""
    if count:
        return f"topic {name} has {count} partitions, not {SHARDS}", f"elsa topics add-partitions {name} {SHARDS}"
    return f"topic {name} does not exist", f"elsa topics create {name} --partitions {SHARDS}"
