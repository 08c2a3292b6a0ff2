"""Many threads and an event loop send through one producer with a small buffer: every Delivery resolves, in order."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from elsa.producer import Producer

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.fetcher import Fetcher

pytestmark = pytest.mark.broker


def test_all_deliveries_resolve_and_each_thread_keeps_its_order(
    settings: Settings, fetcher: Fetcher, topic: Any
) -> None:
    name = topic()
    producer = Producer(replace(settings, send_buffer=100))
    offsets: dict[int, list[int]] = {}

    def send(sender: int) -> None:
        deliveries = [producer.send(name, f"{sender}") for _ in range(1_000)]
        offsets[sender] = [delivery.result(30).offset for delivery in deliveries]

    threads = [threading.Thread(target=send, args=[sender]) for sender in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    producer.close()

    assert all(found == sorted(found) and len(found) == 1_000 for found in offsets.values())
    assert set(range(4_000)) == set().union(*offsets.values())


def test_deliveries_are_awaited_in_a_loop(producer: Producer, topic: Any) -> None:
    async def send_all() -> set[int]:
        return {(await delivery).offset for delivery in [producer.send(name, b"v") for _ in range(500)]}

    name = topic()

    assert set(range(500)) == asyncio.run(send_all())


def test_flush_leaves_nothing_open(producer: Producer, topic: Any) -> None:
    name = topic()
    deliveries = [producer.send(name, b"v") for _ in range(500)]

    assert producer.flush(30) == 0
    assert all(delivery.done() for delivery in deliveries)
