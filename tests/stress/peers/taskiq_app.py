"""taskiq-aio-kafka: the handler, and the sender of the numbered stream.

Runs in a virtual environment without Elsa.
"""

from __future__ import annotations

import asyncio
import os

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.partitioner import DefaultPartitioner
from taskiq_aio_kafka import AioKafkaBroker

from tests.stress.peers.common import note, numbers, told

broker = AioKafkaBroker(os.environ["PEER_BROKERS"], kafka_topic=os.environ["PEER_TOPIC"])
# its own defaults are kafka-python's, with which version 1.0.0 neither sends nor receives
broker.configure_producer(partitioner=DefaultPartitioner())
broker.configure_consumer(
    group_id="stress",
    auto_offset_reset="earliest",
    partition_assignment_strategy=(RoundRobinPartitionAssignor,),
)


@broker.task  # type: ignore[untyped-decorator]  # not installed where types are checked
async def handle(number: int) -> None:
    await asyncio.to_thread(note, number)


def send() -> None:
    """Send the stream."""
    asyncio.run(_send())


async def _send() -> None:
    await broker.startup()
    for number in numbers():
        await handle.kiq(number)
        told(number)
    await broker.shutdown()
