"""Waits for what the engine does: collected calls, conditions with a deadline, what lies in Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import pytest

from elsa.config import load
from elsa.errors import KafkaError
from elsa.kafka.consumer import BEGINNING, Committed, GroupConsumer, to_message
from elsa.kafka.events import Event, classify
from elsa.kafka.probe import Probe
from elsa.message import TopicPartition
from elsa.worker.progress import Progress, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import elsa
    from elsa.message import Message
    from elsa.observe.metrics import PrometheusObserver

T = TypeVar("T")

#: longest wait for something that has to happen
PATIENCE = 60.0


class Seen(Generic[T]):
    """What handlers have seen, in order; called by handlers in any thread, waited for by the test."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: list[T] = []

    def __call__(self, item: T) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    @property
    def items(self) -> list[T]:
        """What was seen so far."""
        with self._changed:
            return list(self._items)

    def __len__(self) -> int:
        return len(self.items)

    def wait(self, count: int, timeout: float = PATIENCE) -> list[T]:
        """Wait for at least `count` items and return all of them; fails the test when they don't come."""
        return self.wait_for(lambda items: len(items) >= count, f"{count} items", timeout)

    def wait_for(self, is_enough: Callable[[list[T]], bool], what: str, timeout: float = PATIENCE) -> list[T]:
        """Wait until the items satisfy a condition and return them."""
        with self._changed:
            if not self._changed.wait_for(lambda: is_enough(self._items), timeout):
                pytest.fail(f"waited {timeout:g} s for {what}, seen: {self._items[-20:]!r} ({len(self._items)})")
            return list(self._items)


class Moment(NamedTuple):
    """A call began, or ended."""

    is_end: bool
    partition: int
    key: bytes | None
    offset: int
    attempt: int


class Calls(Seen[Moment]):
    """Beginnings and ends of calls in their true order, for what must not happen at the same time."""

    @contextlib.contextmanager
    def of(self, ctx: elsa.Context) -> Iterator[None]:
        """Encloses a handler's body."""
        facts = ctx.partition, ctx.key, ctx.offset, ctx.attempt
        self(Moment(False, *facts))
        try:
            yield
        finally:
            self(Moment(True, *facts))

    @property
    def begun(self) -> list[int]:
        """The offsets of all calls, in the order in which they began."""
        return [moment.offset for moment in self.items if not moment.is_end]

    def wait_begun(self, count: int) -> list[int]:
        """Wait until so many calls have begun; their offsets."""
        self.wait_for(lambda items: sum(not one.is_end for one in items) >= count, f"{count} calls to begin")
        return self.begun

    def most_at_once(self) -> int:
        """How many calls ran at the same time at most."""
        running = most = 0
        for moment in self.items:
            running += -1 if moment.is_end else 1
            most = max(most, running)
        return most

    def check_keys(self) -> None:
        """No key ran twice at once, and each in the order of its offsets; an attempt follows the one before."""
        running: Counter[tuple[int, bytes]] = Counter()
        last: dict[tuple[int, bytes], tuple[int, int]] = {}
        for moment in self.items:
            if moment.key is None:
                continue
            lane = moment.partition, moment.key
            running[lane] += -1 if moment.is_end else 1
            assert running[lane] <= 1, f"{moment} began while its key ran"
            if not moment.is_end:
                place = moment.offset, moment.attempt
                assert place > last.get(lane, (-1, 0)), f"{moment} began after {last[lane]} of its key"
                last[lane] = place


def until(is_so: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """Look until something is true and return it; fails the test after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not (found := is_so()):
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout:g} s until {what}")
        time.sleep(0.01)
    return found


async def soon(is_so: Callable[[], Any], what: str) -> None:
    """The same inside an async handler, which fails when it takes too long."""
    end = time.monotonic() + PATIENCE
    # what is waited for happens in other threads
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE:g} s until {what}")
        await asyncio.sleep(0.002)


def stays(is_so: Callable[[], Any], seconds: float, what: str) -> None:
    """Fail the test when something stops being true within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not is_so():
            pytest.fail(f"{what} did not stay so for {seconds:g} s")
        time.sleep(0.02)


class Log:
    """Looks into a Kafka: committed offsets, everything that a topic holds."""

    def __init__(self, brokers: str) -> None:
        self._settings = load({"brokers": brokers, "name": "it-log"}, env={}).settings
        self._probe = Probe(brokers)

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has, 0 when there is no such topic."""
        found = self._probe._client.list_topics(timeout=10).topics.get(topic)
        return len(found.partitions) if found is not None else 0

    def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """The group's committed offset."""
        found = self.commit_of(group, topic, partition)
        return None if found is None else found.offset

    def progress(self, group: str, topic: str, partition: int = 0) -> Progress | None:
        """What the group's commit says of the messages above its offset."""
        found = self.commit_of(group, topic, partition)
        return None if found is None else decode(found.metadata, found.offset)

    def commit_of(self, group: str, topic: str, partition: int = 0) -> Committed | None:
        """The group's commit."""
        consumer = GroupConsumer(self._settings, group)
        place = TopicPartition(topic, partition)
        end = time.monotonic() + PATIENCE
        try:
            while True:
                try:
                    return consumer.committed([place], 10)[place]
                except KafkaError:  # the first question after a broker's start finds no coordinator yet
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.1)
        finally:
            consumer.close()

    def ends(self, topic: str) -> dict[int, int]:
        """One past the last offset of each partition."""
        consumer = GroupConsumer(self._settings, None)
        try:
            return {p: consumer.watermarks(TopicPartition(topic, p), 10)[1] for p in range(self.partitions(topic))}
        finally:
            consumer.close()

    def commit(self, group: str, topic: str, offset: int, partition: int = 0) -> None:
        """Commit for a group that has no members."""
        consumer = GroupConsumer(self._settings, group)
        try:
            error, _ = consumer.commit_now({TopicPartition(topic, partition): Committed(offset, "")})
            assert error is None, error
        finally:
            consumer.close()

    def read(self, topic: str) -> list[Message]:
        """Everything that a topic holds now, partition by partition."""
        consumer = GroupConsumer(self._settings, None)
        open_ends = {TopicPartition(topic, p) for p in range(self.partitions(topic))}
        found: list[Message] = []
        try:
            consumer.assign(dict.fromkeys(open_ends, BEGINNING))
            end = time.monotonic() + PATIENCE
            while open_ends:
                assert time.monotonic() < end, f"{topic} could not be read to its end"
                for raw in consumer.poll(0.1):
                    if raw.error() is None:
                        found.append(to_message(raw))
                    elif classify(raw) == Event.END_OF_PARTITION:
                        open_ends.discard(TopicPartition(raw.topic(), raw.partition()))
        finally:
            consumer.close()
        return sorted(found, key=lambda message: (message.partition, message.offset))

    def wait_for(self, topic: str, count: int) -> list[Message]:
        """Wait until a topic holds at least `count` messages and return them."""

        def holds() -> bool:
            try:
                return self.partitions(topic) > 0 and sum(self.ends(topic).values()) >= count
            except KafkaError:  # just being made: its partitions have no leader yet
                return False

        until(holds, f"{topic} holds {count} messages")
        return self.read(topic)

    def wait_committed(
        self, group: str, topic: str, offset: int, partition: int = 0, timeout: float = PATIENCE
    ) -> None:
        """Wait until a group has committed exactly this offset."""
        until(
            lambda: self.committed(group, topic, partition) == offset,
            f"{group} has committed {offset} of {topic}[{partition}]",
            timeout,
        )


def total(observer: PrometheusObserver, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    found = {family: samples for family, _, _, samples in observer.families()}
    return sum(
        value for sample, pairs, value, _ in found[name] if sample == name and labels.items() <= dict(pairs).items()
    )


def delete_records(brokers: str, topic: str, before: int, partition: int = 0) -> None:
    """Delete a partition's records below an offset, as retention does."""
    from confluent_kafka import TopicPartition as Line

    client: Any = Probe(brokers)._client
    for future in client.delete_records([Line(topic, partition, before)]).values():
        future.result(10)


def add_partitions(brokers: str, topic: str, total: int) -> None:
    """Let a topic grow to `total` partitions."""
    from confluent_kafka.cimpl import NewPartitions

    client: Any = Probe(brokers)._client
    for future in client.create_partitions([NewPartitions(topic, total)]).values():
        future.result(10)
