"""Names of topics that Elsa makes, which topics count as internal, and how tasks of one topic are called together."""

from __future__ import annotations

import hashlib
import re

#: Kafka's limit on the length of a topic's name
MAX_LENGTH = 249
_ILLEGAL = re.compile(r"[^a-zA-Z0-9._-]")
#: by their shape: a topic's retry and seen topics have its name and a group's in front, or what is left of a long name
_INTERNAL = re.compile(r"^__|\.(dlq|dlq-handled|delay\.\d+)$|(.\.[^.]+|-[0-9a-f]{16})\.(retry|seen)$")


def legal(name: str) -> str:
    """`name` as a topic: illegal characters become `-`, over 249 characters end in a hash.

    >>> legal("orders/eu")
    'orders-eu'
    """
    name = _ILLEGAL.sub("-", name)
    if len(name) <= MAX_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    kept, dot, suffix = name.rpartition(".")
    suffix = dot + suffix if len(suffix) < 16 else ""
    return f"{kept[: MAX_LENGTH - len(suffix) - 17]}-{digest}{suffix}"


def dead_letter_topic(topic: str, group: str | None, app: str) -> str:
    """Where the dead letters of `topic` go for one group (of a standalone handler: for the app)."""
    return legal(f"{topic}.{group or app}.dlq")


def is_dead_letter_topic(topic: str) -> bool:
    """Whether a topic is one of dead letters by its name."""
    return topic.endswith(".dlq")


def handled_topic(dead_letters: str) -> str:
    """Where it is noted which messages of a dead-letter topic were replayed or dropped.

    >>> handled_topic("orders.billing.dlq"), handled_topic("my-failures")
    ('orders.billing.dlq-handled', 'my-failures.dlq-handled')
    """
    return legal(f"{dead_letters.removesuffix('.dlq')}.dlq-handled")


def retry_topic(topic: str, group: str) -> str:
    """Where messages of `topic` come back to one group that it is to try again."""
    return legal(f"{topic}.{group}.retry")


def seen_topic(topic: str, group: str) -> str:
    """Which messages of `topic` a group has handled, by id."""
    return legal(f"{topic}.{group}.seen")


def delay_topic(app: str, seconds: int) -> str:
    """Where messages of an app wait for so many seconds."""
    return legal(f"{app}.delay.{seconds}")


def is_delay_topic(topic: str) -> bool:
    """Whether messages of some app wait on it for so many seconds, by its name."""
    return re.search(r"\.delay\.\d+$", topic) is not None


def cancelled_topic(app: str) -> str:
    """Which delayed messages of an app are not to be delivered."""
    return legal(f"{app}.cancelled")


def schedules_topic(app: str) -> str:
    """The topic whose partitions are shared out among those who fire an app's periodic tasks."""
    return legal(f"{app}.schedules")


def control_topic(app: str) -> str:
    """Over which the workers of an app are asked and told things."""
    return legal(f"{app}.control")


def status_topic(app: str) -> str:
    """Where the worker processes of an app say how they are."""
    return legal(f"{app}.status")


def task_topic(app: str) -> str:
    """The topic that tasks share unless they name another."""
    return legal(f"{app}.tasks")


def tasks_of(topic: str) -> str:
    """How the tasks that share `topic` are called together, where others have the name of a handler."""
    return f"tasks of {topic}"


def is_internal(topic: str, app: str | None = None) -> bool:
    """Whether a topic is Elsa's or Kafka's own: a regex subscription never matches it.

    What an app has one of, as `{app}.status`, is known by the app's name only: others call topics so as well.

    >>> is_internal("orders.billing.dlq"), is_internal("shop.status", "shop"), is_internal("orders.status", "shop")
    (True, True, False)
    """
    if _INTERNAL.search(topic) is not None:
        return True
    of_app = (task_topic, schedules_topic, cancelled_topic, control_topic, status_topic)
    return app is not None and any(topic == name(app) for name in of_app)
