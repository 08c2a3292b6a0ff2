"""taskiq-aio-kafka: the handler, and as a program the sender of the numbered stream.

Runs in a virtual environment without Elsa.
"""

from __future__ import annotations

import asyncio
import os

from taskiq_aio_kafka import AioKafkaBroker

from tests.stress.peers.common import note, numbers, told

broker = AioKafkaBroker(os.environ["PEER_BROKERS"], kafka_topic=os.environ["PEER_TOPIC"])
broker.configure_consumer(group_id="stress", auto_offset_reset="earliest")


@broker.task  # type: ignore[untyped-decorator]  # not installed where types are checked
async def handle(number: int) -> None:
    await asyncio.to_thread(note, number)


async def send() -> None:
    await broker.startup()
    for number in numbers():
        await handle.kiq(number)
        told(number)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(send())
