"""Producing needs nothing but addresses, and all of it goes through one client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.kafka.producer import ProducerClient
from elsa.producer import Producer

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.fetcher import Fetcher

pytestmark = pytest.mark.broker


def test_case_09_a_second_call_opens_no_new_connection(settings: Settings, fetcher: Fetcher, topic: Any) -> None:
    made: list[ProducerClient] = []

    def connect(settings: Settings) -> ProducerClient:
        made.append(ProducerClient(settings))
        return made[-1]

    name = topic()
    producer = Producer(settings, connect=connect)
    producer.produce(name, [("key1", "value1"), ("key2", "value2")])
    producer.produce(name, ("key3", "value3"))
    producer.close()

    assert [m.value for m in fetcher.fetch(name, timeout=5).messages] == [b"value1", b"value2", b"value3"]
    assert len(made) == 1
