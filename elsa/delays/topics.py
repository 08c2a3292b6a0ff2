"""The topics of delayed messages: how they are made, by whoever needs them first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.names import cancelled_topic, delay_topic, legal
from elsa.policies.delay import TIERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.app import App

#: copies of a worker beyond that number move nothing; the mover's work is small
PARTITIONS = 3

#: The broker stamps what it appends, so that the clocks of senders do not matter. Nothing is thrown away by time: the
#: mover deletes what it has moved.
_DELAY = {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1", "retention.bytes": "-1"}
#: a cancellation is a key; segments are short so that old ones go
_CANCELLED = {
    "message.timestamp.type": "LogAppendTime",
    "cleanup.policy": "compact,delete",
    "retention.ms": str(8 * 24 * 3600 * 1000),
    "segment.ms": str(24 * 3600 * 1000),
}


def delay_topics(app: str) -> list[str]:
    """All delay topics of an app, the shortest wait first."""
    return [delay_topic(app, seconds) for seconds in TIERS]


def undeliverable_topic(app: str) -> str:
    """Where delayed messages are kept that cannot be delivered."""
    return legal(f"{app}.delay.dlq")


def create(app: App) -> None:
    """Make every topic that delayed messages need, where it is missing; raises what the broker says."""
    wanted: list[tuple[str, Mapping[str, str]]] = [
        (cancelled_topic(app.name), _CANCELLED),
        (undeliverable_topic(app.name), {"retention.ms": str(30 * 24 * 3600 * 1000)}),
    ]
    # movers begin when they see the shortest one: it comes last
    wanted += [(name, _DELAY) for name in reversed(delay_topics(app.name))]
    known = app.topics.list(internal=True)
    missing = [(name, config) for name, config in wanted if name not in known]
    for name, config in missing:
        app.topics.create(
            name,
            partitions=PARTITIONS,
            replicas=app.settings.replication,
            config=dict(config),
            exist_ok=True,
            # one wait for all of them
            wait=name == missing[-1][0],
        )
