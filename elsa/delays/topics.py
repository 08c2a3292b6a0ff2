"""The topics of delayed messages: what they have to be like, and how they are made by whoever needs them first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.names import cancelled_topic, delay_topic, legal
from elsa.policies.dead_letter import EXTRA_BYTES
from elsa.policies.delay import TIERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.app import App

#: copies of a worker beyond that number move nothing; the mover's work is small
PARTITIONS = 3
DAY_MILLISECONDS = 24 * 3600 * 1000
#: a copy of the largest message that Elsa's producer sends
MOST_BYTES = 10 * 1024 * 1024 + EXTRA_BYTES

#: The broker stamps what it appends, so that the clocks of senders do not matter. Nothing is thrown away by time: the
#: mover deletes what it has moved.
_DELAY = {
    "message.timestamp.type": "LogAppendTime",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": str(MOST_BYTES),
}
#: a cancellation is a key; segments are short so that old ones go
_CANCELLED = {
    "message.timestamp.type": "LogAppendTime",
    "cleanup.policy": "compact,delete",
    "retention.ms": str(8 * DAY_MILLISECONDS),
    "segment.ms": str(DAY_MILLISECONDS),
}
_UNDELIVERABLE = {"retention.ms": str(30 * DAY_MILLISECONDS), "max.message.bytes": str(MOST_BYTES + EXTRA_BYTES)}


def delay_topics(app: str) -> list[str]:
    """All delay topics of an app, the shortest wait first."""
    return [delay_topic(app, seconds) for seconds in TIERS]


def undeliverable_topic(app: str) -> str:
    """Where delayed messages are kept that cannot be delivered."""
    return legal(f"{app}.delay.dlq")


def wanted(app: str) -> dict[str, Mapping[str, str]]:
    """Every topic that delayed messages need, with its settings; the shortest delay comes last.

    >>> list(wanted("shop"))[:3]
    ['shop.cancelled', 'shop.delay.dlq', 'shop.delay.65536']
    """
    found: dict[str, Mapping[str, str]] = {cancelled_topic(app): _CANCELLED, undeliverable_topic(app): _UNDELIVERABLE}
    # movers begin when they see the shortest one
    return found | dict.fromkeys(reversed(delay_topics(app)), _DELAY)


def create(app: App) -> None:
    """Make every topic that delayed messages need, where it is missing; raises what the broker says."""
    known = app.topics.list(internal=True)
    missing = [(name, config) for name, config in wanted(app.name).items() if name not in known]
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


def commands(app: str) -> str:
    """What makes them by hand, a line for each.

    >>> commands("shop").splitlines()[-1]
    'elsa topics create shop.delay.1 -p 3 -c message.timestamp.type=LogAppendTime -c retention.ms=-1 \
-c retention.bytes=-1 -c max.message.bytes=10551296'
    """
    return "\n".join(
        f"elsa topics create {name} -p {PARTITIONS} " + " ".join(f"-c {key}={value}" for key, value in config.items())
        for name, config in wanted(app).items()
    )
