"""librdkafka's own mock cluster; called by elsa.testing and by `elsa demo` where no real Kafka can be had."""

from __future__ import annotations

import logging
from typing import Self

from confluent_kafka import Producer

_SILENT = logging.getLogger("elsa.kafka.mock")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class MockCluster:
    """A cluster inside this process, for clients of any process on this machine; it ends with `stop`.

    It serves produce, fetch, offsets, classic consumer groups and transactions, and creates a topic of 4
    partitions when one is first asked for. It has NO admin API: topics cannot be created with other
    counts, listed with their settings or deleted, groups cannot be listed or reset, and nothing is kept.

        with MockCluster(brokers=3) as mock:
            app = elsa.App("shop", brokers=mock.bootstrap)
    """

    def __init__(self, brokers: int = 1) -> None:
        if brokers < 1:
            raise ValueError(f"brokers must be 1 or more, not {brokers!r}")
        # The cluster belongs to the client that asked for it.
        self._owner: Producer | None = Producer({"test.mock.num.brokers": brokers, "log_level": 0, "logger": _SILENT})
        known = self._owner.list_topics(timeout=10).brokers.values()
        self.bootstrap = ",".join(sorted(f"{broker.host}:{broker.port}" for broker in known))

    def stop(self) -> None:
        """End the cluster; idempotent."""
        self._owner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
