"""The client behind the producer, over the mock cluster: reports come by themselves."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from elsa.config import Settings
from elsa.errors import BrokerUnavailable, ConfigError
from elsa.kafka.producer import ProducerClient, in_poll_thread
from elsa.producer import Producer

if TYPE_CHECKING:
    from elsa.kafka.mock import MockCluster


def test_reports_come_without_anybody_polling(mock_kafka: MockCluster) -> None:
    client = ProducerClient(Settings(brokers=mock_kafka.bootstrap))
    arrived = threading.Event()
    where: list[Any] = []

    def report(error: Any, message: Any) -> None:
        where.append((error, message.topic(), in_poll_thread()))
        arrived.set()

    served = client.served
    client.produce("reports", b"v", None, 0, report, None, 0, None)

    assert client.wait_for_room(served, 20)
    assert arrived.wait(20)
    assert where == [(None, "reports", True)]
    assert (client.flush(1), client.pending()) == (0, 0)
    client.stop()

    assert not in_poll_thread()


def test_a_failing_report_does_not_end_the_polling(mock_kafka: MockCluster, caplog: pytest.LogCaptureFixture) -> None:
    client = ProducerClient(Settings(brokers=mock_kafka.bootstrap))
    arrived = threading.Event()

    def fail(error: Any, message: Any) -> None:
        raise ValueError("mine")

    client.produce("reports", b"v", None, 0, fail, None, 0, None)
    served = client.served
    client.wait_for_room(served, 20)
    client.produce("reports", b"v", None, 0, lambda *_: arrived.set(), None, 0, None)

    assert arrived.wait(20)
    assert "a delivery report failed" in caplog.messages
    client.stop()


def test_waiting_inside_a_report_is_refused(mock_kafka: MockCluster) -> None:
    producer = Producer(Settings(brokers=mock_kafka.bootstrap, send_linger=0.0))
    refused: list[str] = []
    done = threading.Event()

    def wait_inside(_: object) -> None:
        try:
            producer.send("reports", b"second").result()
        except RuntimeError as error:
            refused.append(str(error))
        done.set()

    producer.send("reports", b"first").add_done_callback(wait_inside)

    assert done.wait(20)
    assert refused == ["waiting for a Delivery inside a Delivery's callback would never end"]
    assert producer.close() == 0


def test_nobody_answering_is_said_after_the_timeout() -> None:
    client = ProducerClient(Settings(brokers="127.0.0.1:1"))
    with pytest.raises(BrokerUnavailable, match=r"127.0.0.1:1"):
        client.partition_count("orders", 0.2)
    with pytest.raises(BrokerUnavailable):
        client.wait_ready(0.2)
    client.stop()


def test_purging_settles_what_is_open() -> None:
    client = ProducerClient(Settings(brokers="127.0.0.1:1"))
    errors: list[Any] = []
    client.produce("orders", b"v", None, -1, lambda error, _: errors.append(error), None, 0, None)

    assert client.flush(0.1) == 1
    client.purge()

    assert [error.name() for error in errors] == ["_PURGE_QUEUE"]
    client.stop()


def test_a_wrong_configuration_is_said() -> None:
    with pytest.raises(ConfigError, match="the producer's configuration is refused"):
        ProducerClient(Settings(compression="tar"))
