"""Transactions on a real Kafka: messages and offsets appear together, and an id has one owner.

The mover of delayed messages rests on it: a successor that takes its id over ends what it has left open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.errors import BrokerUnavailable, TransactionAborted, TransactionFenced
from elsa.kafka.consumer import BEGINNING, Committed, GroupConsumer
from elsa.kafka.transactions import TransactionalProducer
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.config import Settings
    from elsa.testing.kafka import Groups, Topics

pytestmark = pytest.mark.broker

TIMEOUT = 30.0


@pytest.fixture
def make(settings: Settings) -> Iterator[Callable[[], TransactionalProducer]]:
    """Makes producers of one id."""
    made: list[TransactionalProducer] = []

    def open_one() -> TransactionalProducer:
        made.append(TransactionalProducer(settings, f"{settings.name}-mover"))
        made[-1].init(TIMEOUT)
        return made[-1]

    yield open_one
    for one in made:
        one.close()


def read(settings: Settings, name: str) -> list[bytes]:
    """What readers of committed messages find, to the end."""
    reader = GroupConsumer(settings, None)
    found: list[bytes] = []
    try:
        reader.assign({TopicPartition(name, 0): BEGINNING})
        while True:
            for raw in reader.poll(0.1):
                if raw.error() is not None:
                    return found
                found.append(raw.value())
    finally:
        reader.close()


def test_messages_and_offsets_go_together_or_not_at_all(
    settings: Settings, topic: Topics, group: Groups, make: Callable[[], TransactionalProducer]
) -> None:
    source, target, name = topic(1), topic(1), group()
    producer = make()
    producer.begin()
    for number in range(2):
        producer.produce(source, b"%d" % number, key=None)
    producer.commit(TIMEOUT)
    where = TopicPartition(source, 0)

    def begin(partitions: list[TopicPartition]) -> None:
        consumer.assign(dict.fromkeys(partitions, BEGINNING))

    consumer = GroupConsumer(settings, name, on_assign=begin)
    try:
        consumer.subscribe([source])
        taken: list[Any] = []
        while len(taken) < 2:
            taken += [raw for raw in consumer.poll(0.1) if raw.error() is None]

        proof = consumer.proof()
        assert proof is not None
        producer.begin()
        producer.produce(target, b"never", key=None)
        producer.send_offsets({where: Committed(2, "")}, proof, TIMEOUT)
        producer.abort(TIMEOUT)
        assert consumer.committed([where], TIMEOUT)[where] is None

        producer.begin()
        producer.produce(target, taken[0].value(), key=None)
        producer.send_offsets({where: Committed(1, "")}, proof, TIMEOUT)
        # a transaction is open on it: nobody may begin there
        with pytest.raises(BrokerUnavailable):
            consumer.settled([where], 1.0)
        producer.commit(TIMEOUT)
        assert consumer.settled([where], TIMEOUT) == {where: Committed(1, "")}
    finally:
        consumer.close()
    assert read(settings, target) == [b"0"]


def test_a_successor_ends_what_its_predecessor_has_left_open(
    settings: Settings, topic: Topics, make: Callable[[], TransactionalProducer]
) -> None:
    name = topic(1)
    first = make()
    first.begin()
    first.produce(name, b"left open", key=None)
    second = make()
    second.begin()
    second.produce(name, b"second", key=None)
    second.commit(TIMEOUT)

    with pytest.raises((TransactionFenced, TransactionAborted)) as caught:
        first.commit(TIMEOUT)
        first.abort(TIMEOUT)
    if not isinstance(caught.value, TransactionFenced):
        with pytest.raises(TransactionFenced):
            first.abort(TIMEOUT)
    assert read(settings, name) == [b"second"]
