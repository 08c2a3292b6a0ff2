"""Keeps secrets out of everything that people see: which settings hold one, and what is shown instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN = "***"
_SECRET = re.compile(r"password|passphrase|secret|key|token|oauth|credential|sasl\.jaas", re.IGNORECASE)
#: `ssl.key.location` and its like hold the path of a secret, or its address, which helps whoever looks for it
_PUBLIC = re.compile(r"\.(location|url|id)$", re.IGNORECASE)


def is_secret(key: str) -> bool:
    """Whether the dotted Kafka key holds a secret.

    >>> is_secret("sasl.password"), is_secret("ssl.ca.location")
    (True, False)
    """
    return _SECRET.search(key) is not None and _PUBLIC.search(key) is None


def redact_kafka(kafka: Mapping[str, Any]) -> dict[str, Any]:
    """The `kafka` mapping with its secrets hidden."""
    return {key: HIDDEN if is_secret(key) else value for key, value in kafka.items()}


class KafkaKeys(dict[str, Any]):
    """Kafka keys that show no secret where they are printed: in a log line, or by a debugger that shows variables.

    >>> KafkaKeys({"sasl.username": "ann", "sasl.password": "pw"})
    {'sasl.username': 'ann', 'sasl.password': '***'}
    """

    def __repr__(self) -> str:
        return repr(redact_kafka(self))


def redact_brokers(brokers: str) -> str:
    """The broker list without what stands before its last `@`: a password may hold commas, so all of it goes.

    >>> redact_brokers("ann:pw@one:9092,two:9092")
    '***@one:9092,two:9092'
    """
    _, at, hosts = brokers.rpartition("@")
    return f"{HIDDEN}@{hosts}" if at else brokers
