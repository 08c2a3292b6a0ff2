"""The messages of the benchmarks: topics that wait to be handled, and a steady numbered stream."""

from __future__ import annotations

import functools
import threading
import time
import zlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from confluent_kafka import Producer

PARTITIONS = 6
KEYS = 500
BODY_BYTES = 200

_FRAME = '{{"id":{:d},"customer":"{}","amount":9.5,"note":"{}"}}'


def body(number: int) -> bytes:
    """200 bytes of JSON that `apps.Order` decodes."""
    text = _FRAME.format(number, "c" * 40, "")
    return _FRAME.format(number, "c" * 40, "n" * (BODY_BYTES - len(text))).encode()


@functools.cache
def _keys() -> list[bytes]:
    return [b"%d" % key for key in range(KEYS)]


def key_of(number: int) -> int:
    """The key of a message, as a number below KEYS."""
    return zlib.crc32(b"%d" % number) % KEYS


def producer(brokers: str, settings: Mapping[str, str | float]) -> Producer:
    """A plain producer that keeps as much as a whole benchmark sends."""
    from confluent_kafka import Producer

    return Producer({"bootstrap.servers": brokers, "queue.buffering.max.messages": 2_000_000, **settings})


def create(brokers: str, topic: str, partitions: int = PARTITIONS) -> None:
    """Make a topic and wait until it can be used."""
    create_all(brokers, [topic], partitions)


def create_all(brokers: str, topics: Sequence[str], partitions: int, config: Mapping[str, str] | None = None) -> None:
    """Make topics of so many partitions each and wait until they can be used."""
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    admin = AdminClient({"bootstrap.servers": brokers})
    wanted = [NewTopic(topic, partitions, 1, config=dict(config or {})) for topic in topics]
    for made in admin.create_topics(wanted, operation_timeout=60).values():
        made.result()
    deadline = time.monotonic() + 60
    while True:
        found = admin.list_topics(timeout=10).topics
        described = [found[topic].partitions.values() if topic in found else () for topic in topics]
        if all(len(each) == partitions and all(p.leader >= 0 for p in each) for each in described):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topics[0]} and its like have no leaders yet")
        time.sleep(0.05)


def fill(brokers: str, topic: str, count: int) -> None:
    """Make a topic with `count` waiting messages, keys spread over its partitions."""
    create(brokers, topic)
    # idempotent: a retry must not change the order that the cases check
    client = producer(brokers, {"linger.ms": 20, "enable.idempotence": "true"})
    keys = _keys()
    for number in range(count):
        key = key_of(number)
        client.produce(topic, body(number), keys[key], partition=key % PARTITIONS)
        if number % 5_000 == 0:
            client.poll(0)
    if left := client.flush(120):
        raise TimeoutError(f"{left} messages were not taken by the broker")


def spread(brokers: str, topics: Sequence[str], partitions: int, count: int, keys: int | None = None) -> None:
    """Make topics with `count` waiting messages, message i in partition i modulo all of them (see `place`).

    With `keys` it has the key i modulo that.
    """
    create_all(brokers, topics, partitions)
    client = producer(brokers, {"linger.ms": 20, "enable.idempotence": "true"})
    for number in range(count):
        topic, partition = place(number, topics, partitions)
        client.produce(topic, body(number), b"%d" % (number % keys) if keys else None, partition=partition)
        if number % 5_000 == 0:
            client.poll(0)
    if left := client.flush(120):
        raise TimeoutError(f"{left} messages were not taken by the broker")


def place(number: int, topics: Sequence[str], partitions: int) -> tuple[str, int]:
    """Topic and partition of a message that `spread` has made."""
    return topics[number % len(topics)], number // len(topics) % partitions


def committed(brokers: str, topic: str, group: str) -> int:
    """The sum of what a group has committed on a topic that begins at 0."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    client = Consumer({"bootstrap.servers": brokers, "group.id": group})
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    deadline = time.monotonic() + 30
    try:
        while True:
            try:
                return sum(max(0, found.offset) for found in client.committed(partitions, timeout=10))
            except KafkaException:  # the first group of a broker's life finds no coordinator for a moment
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
    finally:
        client.close()


def ends(brokers: str, topic: str) -> int:
    """The sum of a topic's ends: how many messages it was ever given, without transactions."""
    from confluent_kafka import Consumer, TopicPartition

    client = Consumer({"bootstrap.servers": brokers, "group.id": "ends"})
    try:
        found = client.list_topics(topic, timeout=10).topics[topic].partitions
        return sum(client.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1] for number in found)
    finally:
        client.close()


class Steady:
    """Messages 0, 1, 2, ... at a steady pace, message i to partition i mod 6, until the block ends.

    `sent_at[i]` is the monotonic time right before message i was handed to the producer.
    """

    def __init__(self, brokers: str, topic: str, *, per_second: float) -> None:
        self.sent_at: list[float] = []
        self._topic = topic
        self._pause = 1 / per_second
        self._producer = producer(brokers, {"linger.ms": 0})
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._send, name="steady-stream", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more, and wait until the broker has everything; idempotent."""
        self._ending.set()
        self._thread.join()
        self._producer.flush(10)

    def _send(self) -> None:
        begun = time.monotonic()
        number = 0
        while not self._ending.is_set():
            # a key stays in its partition
            value, partition, key = body(number), number % PARTITIONS, b"%d" % (number % (PARTITIONS * 100))
            self.sent_at.append(time.monotonic())
            self._producer.produce(self._topic, value, key, partition=partition)
            self._producer.poll(0)
            number += 1
            left = begun + number * self._pause - time.monotonic()
            if left > 0:
                time.sleep(left)
