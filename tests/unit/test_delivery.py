"""What one send came to: waiting, awaiting, callbacks, from any thread."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError as Code
from confluent_kafka import Message

from elsa.delivery import Delivery
from elsa.errors import KafkaError
from elsa.message import RecordMetadata


class Owner:
    sent = None
    facts: ClassVar = {"brokers": "k:9092", "user": "ann"}

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def refused(self, topic: str, error: Any) -> Any:
        self.heard.append((topic, error.name()))
        return error


def pending() -> Delivery:
    return Delivery("orders", Owner())


def confirm(delivery: Delivery) -> None:
    delivery(None, Message("orders", 2, 7, b"k", b"v", timestamp=(1, 1_500)))


def refuse(delivery: Delivery) -> None:
    delivery(Code(Code.KAFKA_STORAGE_ERROR), Message("orders"))


def test_nothing_is_known_before_the_report() -> None:
    delivery = pending()

    assert not delivery.done()
    assert (delivery.partition, delivery.offset, delivery.timestamp) == (None, None, None)
    assert repr(delivery) == "<Delivery to 'orders', under way>"
    with pytest.raises(TimeoutError, match="'orders' within 0 s"):
        delivery.result(0)


def test_a_confirmed_message_has_its_place() -> None:
    delivery = pending()
    confirm(delivery)

    assert RecordMetadata("orders", 2, 7, 1.5) == delivery.result()
    assert delivery.exception() is None
    assert (delivery.partition, delivery.offset, delivery.timestamp) == (2, 7, 1.5)
    assert repr(delivery) == "<Delivery to 'orders'[2] at 7>"


def test_a_message_without_timestamp_has_none() -> None:
    delivery = pending()
    delivery(None, Message("orders", 0, 0, timestamp=(0, -1)))

    assert delivery.result().timestamp is None


def test_the_payload_is_not_kept() -> None:
    delivery = pending()
    message = Message("orders", 2, 7, b"k", b"v")
    delivery(None, message)

    assert message.value() is None


def test_a_refused_message_raises_and_its_owner_hears_of_it() -> None:
    owner = Owner()
    delivery = Delivery("orders", owner)
    refuse(delivery)

    assert owner.heard == [("orders", "KAFKA_STORAGE_ERROR")]
    assert isinstance(delivery.exception(), KafkaError)
    assert delivery.exception() is delivery.exception()
    with pytest.raises(KafkaError, match="KAFKA_STORAGE_ERROR"):
        delivery.result()
    assert (delivery.partition, delivery.offset, delivery.timestamp) == (None, None, None)
    assert "refused" in repr(delivery)


def test_a_callback_runs_once_with_the_delivery_before_or_after_the_report() -> None:
    delivery = pending()
    heard: list[object] = []
    delivery.add_done_callback(lambda d: heard.append(("early", d)))
    delivery.add_done_callback(lambda d: heard.append(("second", d)))

    assert heard == []
    confirm(delivery)
    delivery.add_done_callback(lambda d: heard.append(("late", d)))

    assert [("early", delivery), ("second", delivery), ("late", delivery)] == heard


def test_a_failing_callback_is_logged_and_the_others_run(caplog: pytest.LogCaptureFixture) -> None:
    delivery = pending()
    heard: list[object] = []

    def fail(_: Delivery) -> None:
        raise ValueError("mine")

    delivery.add_done_callback(fail)
    delivery.add_done_callback(heard.append)
    with caplog.at_level(logging.ERROR):
        confirm(delivery)

    assert [delivery] == heard
    assert caplog.records[0].message == "a callback of a Delivery failed"


def test_waiting_threads_are_all_woken() -> None:
    delivery = pending()
    results: list[RecordMetadata] = []
    threads = [threading.Thread(target=lambda: results.append(delivery.result(10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    confirm(delivery)
    for thread in threads:
        thread.join(10)

    assert 4 * [RecordMetadata("orders", 2, 7, 1.5)] == results


def test_no_callback_is_lost_or_doubled_in_a_race_with_the_report() -> None:
    rounds, heard = 3_000, itertools.count()
    deliveries = [pending() for _ in range(rounds)]
    barrier = threading.Barrier(2)

    def wait_for_all() -> None:
        barrier.wait()
        for delivery in deliveries:
            delivery.add_done_callback(lambda _: next(heard))

    waiter = threading.Thread(target=wait_for_all)
    waiter.start()
    barrier.wait()
    for delivery in deliveries:
        confirm(delivery)
    waiter.join(30)

    assert rounds == next(heard)


def test_it_can_be_awaited_in_any_loop_and_more_than_once() -> None:
    delivery = pending()

    async def await_it() -> RecordMetadata:
        asyncio.get_running_loop().call_later(0.01, confirm, delivery)
        first, second = await asyncio.gather(_result(delivery), _result(delivery))
        assert first == second
        return first

    assert RecordMetadata("orders", 2, 7, 1.5) == asyncio.run(await_it())
    assert RecordMetadata("orders", 2, 7, 1.5) == asyncio.run(_result(delivery))


async def _result(delivery: Delivery) -> RecordMetadata:
    return await delivery


def test_an_awaited_refusal_raises() -> None:
    delivery = pending()

    async def await_it() -> None:
        threading.Thread(target=refuse, args=[delivery]).start()
        await delivery

    with pytest.raises(KafkaError, match="KAFKA_STORAGE_ERROR"):
        asyncio.run(await_it())


def test_a_cancelled_or_ended_loop_does_not_disturb_the_report() -> None:
    delivery = pending()

    async def give_up() -> None:
        await asyncio.wait_for(_result(delivery), 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    confirm(delivery)

    assert delivery.done()


def test_a_missing_right_names_the_user_and_the_brokers() -> None:
    delivery = pending()
    delivery(Code(Code.TOPIC_AUTHORIZATION_FAILED), Message("orders"))

    assert "--bootstrap-server k:9092 --add --allow-principal User:ann --operation Write --topic orders" in str(
        delivery.exception()
    )
