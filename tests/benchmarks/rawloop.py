"""The other side of every benchmark: the loops a person writes by hand with confluent-kafka; each a program.

Started by processes.py as `python -m tests.benchmarks.rawloop SHAPE` with the same BENCH_* variables as apps.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from tests.benchmarks import work
from tests.benchmarks.marks import Journal, Spans, Tally
from tests.benchmarks.streams import body, key_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

BROKERS = os.environ["ELSA_BROKERS"]
GROUP = os.environ["ELSA_NAME"]
TOPIC = os.environ["BENCH_TOPIC"]
COUNT = int(os.environ.get("BENCH_COUNT", "0"))
FILE = Path(os.environ.get("BENCH_FILE", os.devnull))


def consumer() -> Consumer:
    """Like Elsa's: from the beginning, offsets committed by hand."""
    found = Consumer(
        {
            "bootstrap.servers": BROKERS,
            "group.id": GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    found.subscribe(TOPIC.split(","))
    return found


def count() -> None:
    """consume(1000), json.loads, a synchronous commit per batch, until all are handled."""
    _count(Tally(COUNT, FILE))


def count_list() -> None:
    """The same with several topics."""
    places = len(TOPIC.split(",")) * int(os.environ["BENCH_PARTITIONS"])
    _count(Tally(COUNT, FILE, key=lambda number: number % places))


def _count(tally: Tally) -> None:
    client = consumer()
    mark = tally.mark
    while not tally.done.is_set():
        batch = client.consume(1000, 0.1)
        for message in batch:
            mark(json.loads(value_of(message))["id"])
        if batch:
            client.commit(asynchronous=False)
    client.close()


def io() -> None:
    """consume(1000), the keys of a batch at the same time on an event loop, a synchronous commit per batch."""
    client = consumer()
    spans = Spans(COUNT, FILE, key_of)

    async def in_order(numbers: list[int]) -> None:
        for number in numbers:
            begun = spans.begin()
            await asyncio.sleep(0.01)
            spans.end(number, begun)

    async def all_keys(batch: list[Message]) -> None:
        keys: dict[bytes, list[int]] = {}
        for message in batch:
            key = message.key()
            assert key is not None
            keys.setdefault(key, []).append(json.loads(value_of(message))["id"])
        await asyncio.gather(*(in_order(numbers) for numbers in keys.values()))

    while not FILE.exists():
        batch = client.consume(1000, 0.1)
        if batch:
            asyncio.run(all_keys(batch))
            client.commit(asynchronous=False)
    client.close()


def journal() -> None:
    """poll(), json.loads, a synchronous commit per 1,000 messages, until SIGTERM."""
    client = consumer()
    log = Journal(FILE)
    _poll_until_told(client, lambda order: log.mark(order["id"]))


def slow() -> None:
    """The same with a millisecond of work per message."""
    _poll_until_told(consumer(), lambda _: time.sleep(0.001))


def publish() -> None:
    """produce() of ready bytes with a delivery callback and Elsa's guarantees, until all are confirmed."""
    client = Producer({"bootstrap.servers": BROKERS, "acks": "all", "enable.idempotence": True, "linger.ms": 5})
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    bodies = [body(number) for number in range(COUNT)]
    keys = [b"%d" % key_of(number) for number in range(COUNT)]
    client.produce(TOPIC, bodies[0], keys[0], on_delivery=delivered)
    client.flush(30)
    begun, cpu = time.perf_counter(), time.process_time()
    for value, key in zip(bodies, keys, strict=True):
        while True:
            try:
                client.produce(TOPIC, value, key, on_delivery=delivered)
                break
            except BufferError:
                client.poll(0.1)
        client.poll(0)
    left = client.flush(120) + len(failed)
    found = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu, "left": left}
    FILE.write_text(json.dumps(found))


def burn() -> None:
    """No Kafka at all: the same work again and again, until SIGTERM."""
    log, loops, number = Journal(FILE), int(os.environ["BENCH_LOOPS"]), 0
    while True:
        log.mark(number)
        work.burn(loops)
        number += 1


def value_of(message: Message) -> bytes:
    """The body; raises what the client reports instead of a message."""
    if error := message.error():
        raise KafkaException(error)
    value = message.value()
    assert value is not None
    return value


def _poll_until_told(client: Consumer, handle: Callable[[dict[str, Any]], object]) -> None:
    told: list[int] = []

    def tell(number: int, _: FrameType | None) -> None:
        told.append(number)

    signal.signal(signal.SIGTERM, tell)
    uncommitted = 0
    while not told:
        message = client.poll(0.1)
        if message is not None:
            handle(json.loads(value_of(message)))
            uncommitted += 1
        if uncommitted >= 1000:
            client.commit(asynchronous=False)
            uncommitted = 0
    if uncommitted:
        client.commit(asynchronous=False)
    client.close()


SHAPES = {
    "count": count,
    "count-list": count_list,
    "io": io,
    "journal": journal,
    "slow": slow,
    "publish": publish,
    "burn": burn,
}

if __name__ == "__main__":
    SHAPES[sys.argv[1]]()
