"""Elsa: a task framework on Apache Kafka. Decorate a function, bind it to a topic, run `elsa worker`.

Names are resolved on first use, so that the command line starts fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elsa.app import App, default_app, get_app
    from elsa.context import Context, current
    from elsa.defaults import (
        cancel,
        create_topic,
        delete_topic,
        fetch,
        handler,
        list_topics,
        produce,
        search,
        search_keys,
        search_values,
        send,
        stream,
        task,
        topic_exists,
    )
    from elsa.errors import BatchError, ElsaError, Reject, RejectAssignment, RetryLater, Skip
    from elsa.fetcher import FetchResult
    from elsa.message import Message, Record, RecordMetadata, TopicPartition
    from elsa.outcome import ACK, CONTINUE, DEFER, ack_through
    from elsa.policies.retry import Retry
    from elsa.producer import Delivery

__version__ = "0.1.0"

_HOMES = {
    "ACK": "elsa.outcome",
    "App": "elsa.app",
    "BatchError": "elsa.errors",
    "CONTINUE": "elsa.outcome",
    "Context": "elsa.context",
    "DEFER": "elsa.outcome",
    "Delivery": "elsa.producer",
    "ElsaError": "elsa.errors",
    "FetchResult": "elsa.fetcher",
    "Message": "elsa.message",
    "Record": "elsa.message",
    "RecordMetadata": "elsa.message",
    "Reject": "elsa.errors",
    "RejectAssignment": "elsa.errors",
    "Retry": "elsa.policies.retry",
    "RetryLater": "elsa.errors",
    "Skip": "elsa.errors",
    "TopicPartition": "elsa.message",
    "ack_through": "elsa.outcome",
    "cancel": "elsa.defaults",
    "create_topic": "elsa.defaults",
    "current": "elsa.context",
    "default_app": "elsa.app",
    "delete_topic": "elsa.defaults",
    "fetch": "elsa.defaults",
    "get_app": "elsa.app",
    "handler": "elsa.defaults",
    "list_topics": "elsa.defaults",
    "produce": "elsa.defaults",
    "search": "elsa.defaults",
    "search_keys": "elsa.defaults",
    "search_values": "elsa.defaults",
    "send": "elsa.defaults",
    "stream": "elsa.defaults",
    "task": "elsa.defaults",
    "topic_exists": "elsa.defaults",
}

__all__ = [  # noqa: RUF022 - plain order, pinned by a test
    "ACK",
    "App",
    "BatchError",
    "CONTINUE",
    "Context",
    "DEFER",
    "Delivery",
    "ElsaError",
    "FetchResult",
    "Message",
    "Record",
    "RecordMetadata",
    "Reject",
    "RejectAssignment",
    "Retry",
    "RetryLater",
    "Skip",
    "TopicPartition",
    "ack_through",
    "cancel",
    "create_topic",
    "current",
    "default_app",
    "delete_topic",
    "fetch",
    "get_app",
    "handler",
    "list_topics",
    "produce",
    "search",
    "search_keys",
    "search_values",
    "send",
    "stream",
    "task",
    "topic_exists",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'elsa' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
