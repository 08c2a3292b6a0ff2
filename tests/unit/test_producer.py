"""The producer over a client that reports when told to."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException, Message

from elsa import context
from elsa.config import Settings
from elsa.errors import (
    AuthorizationFailed,
    BrokerUnavailable,
    BufferFull,
    ConfigError,
    FatalClientError,
    MessageTooLarge,
    NotStarted,
    ProduceError,
    UnknownPartition,
    UnknownTopic,
)
from elsa.message import Record, RecordMetadata
from elsa.observer import Observer
from elsa.partitioners import md5
from elsa.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeClient:
    """What elsa.kafka.producer.ProducerClient offers, without Kafka."""

    def __init__(self, partitions: int = 3, room: int = 1_000_000) -> None:
        self.partitions: int | Exception = partitions
        self.room = room
        self.taken: list[tuple[Any, ...]] = []
        self.reported = 0
        self.lookups = 0
        self.refuse_from: int | None = None
        self.raises: list[KafkaException] = []
        self.auto = True
        self.served = 0
        self.events: list[str] = []
        self.failure: Any = None
        self._more = threading.Condition()

    def __call__(self, settings: Settings) -> FakeClient:
        self.events.append("made")
        return self

    def produce(self, *message: Any) -> None:
        if self.raises:
            raise self.raises.pop(0)
        if len(self.taken) - self.reported >= self.room:
            raise BufferError
        self.taken.append(message)
        if self.auto:
            self.report()

    def report(self, count: int | None = None) -> None:
        """Report on the oldest messages that have no report yet."""
        end = len(self.taken) if count is None else self.reported + count
        while self.reported < end:
            number, (topic, _, key, partition, callback, *_) = self.reported, self.taken[self.reported]
            self.reported += 1
            if self.refuse_from is not None and number >= self.refuse_from:
                callback(Code(Code.KAFKA_STORAGE_ERROR), self._message(topic, partition, number, key))
            else:
                callback(None, self._message(topic, partition, number, key))
        with self._more:
            self.served += 1
            self._more.notify_all()

    @staticmethod
    def _message(topic: str, partition: int, offset: int, key: Any) -> Any:
        return Message(topic, max(partition, 0), offset, key, b"payload", timestamp=(1, 1_500), latency=0.25)

    def wait_for_room(self, served: int, timeout: float) -> bool:
        with self._more:
            return self._more.wait_for(lambda: self.served != served, timeout)

    def partition_count(self, topic: str, timeout: float) -> int:
        self.lookups += 1
        if isinstance(self.partitions, Exception):
            raise self.partitions
        return self.partitions

    def pending(self) -> int:
        return len(self.taken) - self.reported

    def flush(self, timeout: float) -> int:
        self.events.append("flush")
        return self.pending()

    def purge(self) -> None:
        self.events.append("purge")
        self.refuse_from = len(self.taken) if self.pending() == 0 else self.reported
        self.report()
        self.refuse_from = None

    def stop(self) -> None:
        self.events.append("stop")

    def abandon(self) -> None:
        self.events.append("abandon")

    def wait_ready(self, timeout: float) -> None:
        self.events.append("ready")


def producer_with(client: FakeClient, observer: Any = None, **settings: Any) -> Producer:
    """A Producer on that client."""
    return Producer(Settings(name="shop", **settings), observer, connect=client)  # type: ignore[arg-type]  # duck-typed


class Listener(Observer):
    def __init__(self) -> None:
        self.heard: list[tuple[str, str, float, str | None]] = []

    def sent(self, topic: str, outcome: str, seconds: float, error: str | None) -> None:
        self.heard.append((topic, outcome, seconds, error))


def test_the_client_is_made_at_the_first_send_and_shared() -> None:
    client = FakeClient()
    producer = producer_with(client)

    assert client.events == []
    producer.send("orders", b"a")
    producer.send("orders", b"b")

    assert client.events == ["made"]
    assert client.lookups == 1


def test_a_send_leaves_the_partition_to_the_client() -> None:
    client = FakeClient()
    delivery = producer_with(client).send("orders", None, key="k", timestamp=1.5)

    assert [("orders", None, "k", -1, delivery, None, 1_500, None)] == client.taken


def test_headers_and_id_are_sent_as_pairs() -> None:
    client = FakeClient()
    producer_with(client).send("orders", b"v", headers=[("a", "1"), ("a", b"2")], id="x1")

    assert client.taken[0][7] == [("a", b"1"), ("a", b"2"), ("elsa-id", b"x1")]


class TestWrittenWithoutAPlace:
    """The client's report says that a message was written, and not where (tests/unit/kafka/test_unconfirmed.py)."""

    @pytest.fixture(autouse=True)
    def _producer(self) -> Iterator[None]:
        self.client = FakeClient()
        self.client.auto = False
        self.producer = producer_with(self.client)
        yield
        self.producer.close(quietly=True)

    @staticmethod
    def report(delivery: Any) -> None:
        delivery(None, Message("orders", 2, -1001, b"k", b"v", timestamp=(1, 1_500)))

    def test_it_is_sent_again_as_it_was(self) -> None:
        delivery = self.producer.send("orders", b"v", headers={"a": "1"}, id="x1", key="k")
        self.report(delivery)
        pairs = [("a", b"1"), ("elsa-id", b"x1")]

        assert not delivery.done()
        assert self.client.taken[1] == ("orders", b"v", b"k", 2, delivery, None, 1_500, pairs)

    def test_its_delivery_fails_when_there_is_no_room(self) -> None:
        delivery = self.producer.send("orders", b"v")
        self.client.room = 1
        self.report(delivery)

        with pytest.raises(BufferFull):
            delivery.result(0)

    def test_its_delivery_fails_when_the_client_refuses_it(self) -> None:
        delivery = self.producer.send("orders", b"v")
        self.client.raises = [KafkaException(Code(Code.TOPIC_AUTHORIZATION_FAILED))]
        self.report(delivery)

        with pytest.raises(AuthorizationFailed):
            delivery.result(0)

    def test_a_producer_that_is_being_closed_sends_it_again(self) -> None:
        delivery = self.producer.send("orders", b"v")

        def flush(timeout: float) -> int:
            self.report(delivery)
            self.client.report()
            return 0

        self.client.flush = flush  # type: ignore[method-assign]
        self.producer.close()

        assert delivery.result(0).offset is not None
        assert len(self.client.taken) == 2


@pytest.mark.parametrize(
    ("partitioner", "partition"),
    [("md5", md5(b"key1", 5)), ("zero", 0), ("murmur2", -1), (lambda key, n: n - len(key), 1)],
)
def test_a_rule_chooses_from_the_encoded_key(partitioner: Any, partition: int) -> None:
    client = FakeClient(partitions=5)
    producer_with(client).send("orders", b"v", key="key1", partitioner=partitioner)

    assert partition == client.taken[0][3]


def test_the_apps_rule_is_the_default_and_a_partition_wins() -> None:
    client = FakeClient()
    producer = producer_with(client, partitioner="zero")
    producer.send("orders", b"v", key="k")
    producer.send("orders", b"v", key="k", partition=2)
    producer.send("orders", b"v", key="k", partition=1, partitioner="zero")

    assert [message[3] for message in client.taken] == [0, 2, 1]


def test_an_unknown_rule_of_the_app_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match="no partitioner 'crc'"):
        producer_with(FakeClient(), partitioner="crc")


def test_a_rule_out_of_range_sends_nothing() -> None:
    client = FakeClient()
    with pytest.raises(ValueError, match=r"chose 3 for b'k', not one of 0..2"):
        producer_with(client).produce("orders", [("k", b"v")], partitioner=lambda _key, n: n)

    assert client.taken == []


def test_an_unknown_partition_is_looked_up_again_and_sends_nothing() -> None:
    client = FakeClient()
    producer = producer_with(client)
    producer.warm_up("orders")
    with pytest.raises(UnknownPartition, match=r"'orders' has no partition 3, only 0..2"):
        producer.send("orders", b"v", partition=3)
    client.partitions = 4
    producer.send("orders", b"v", partition=3)

    assert [message[3] for message in client.taken] == [3]
    with pytest.raises(UnknownPartition):
        producer.send("orders", b"v", partition=-1)


def test_an_unknown_topic_sends_nothing() -> None:
    client = FakeClient()
    client.partitions = UnknownTopic("no such topic")
    producer = producer_with(client)
    with pytest.raises(UnknownTopic):
        producer.send("orders", b"v")
    with pytest.raises(UnknownTopic):
        producer.produce("orders", [b"v"])

    assert client.taken == []


def test_while_no_broker_answers_sends_are_buffered_and_asked_about_once(caplog: pytest.LogCaptureFixture) -> None:
    client = FakeClient()
    client.partitions = BrokerUnavailable()
    producer = producer_with(client)
    producer.send("orders", b"a")
    producer.send("orders", b"b")

    assert (len(client.taken), client.lookups) == (2, 1)
    assert [record.message for record in caplog.records] == ["no broker answers: messages wait in the buffer"]


def test_produce_needs_a_broker_for_a_new_topic() -> None:
    client = FakeClient()
    client.partitions = BrokerUnavailable()
    with pytest.raises(BrokerUnavailable):
        producer_with(client).produce("orders", [b"a"])

    assert client.taken == []


def test_a_topic_that_kafka_no_longer_knows_is_looked_up_again() -> None:
    client = FakeClient()
    producer = producer_with(client)
    producer.send("orders", b"a")
    producer.refused("orders", Code(Code._UNKNOWN_TOPIC))
    producer.send("orders", b"b")

    assert client.lookups == 2


def test_a_full_buffer_is_waited_for() -> None:
    client = FakeClient(room=1)
    client.auto = False
    producer = producer_with(client)
    producer.send("orders", b"a")
    threading.Timer(0.05, client.report).start()
    producer.send("orders", b"b")

    assert len(client.taken) == 2


@pytest.mark.parametrize("block", [False, 0.01])
def test_a_full_buffer_raises_what_to_do(block: float) -> None:
    client = FakeClient(room=1)
    client.auto = False
    producer = producer_with(client)
    producer.send("orders", b"a")
    with pytest.raises(BufferFull, match=r"1 messages wait for Kafka.*\n  hint: .*raise `send_buffer`") as caught:
        producer.send("orders", b"b", block=block)

    assert isinstance(caught.value, BufferError)
    assert caught.value.retryable


def test_the_default_wait_for_room_ends_at_the_send_timeout() -> None:
    client = FakeClient(room=0)
    with pytest.raises(BufferFull, match=r"after 0.02 s"):
        producer_with(client, send_timeout=0.02).send("orders", b"b")


def test_an_oversize_message_raises_at_once() -> None:
    client = FakeClient()
    client.raises = 2 * [KafkaException(Code(Code.MSG_SIZE_TOO_LARGE))]
    with pytest.raises(MessageTooLarge, match="too large for topic 'orders'"):
        producer_with(client).send("orders", b"v")


def test_a_client_that_failed_for_good_is_made_again_and_the_message_goes_out(caplog: pytest.LogCaptureFixture) -> None:
    client = FakeClient()
    producer = producer_with(client)
    client.raises = 2 * [KafkaException(Code(Code._FATAL, fatal=True))]
    producer.send("orders", b"v").result(1)

    assert client.events == ["made", "purge", "stop", "made"]
    assert caplog.records[0].message == "the producer failed for good and is made again"


def test_a_second_fatal_error_is_raised() -> None:
    client = FakeClient()
    client.raises = 3 * [KafkaException(Code(Code._FATAL, fatal=True))]
    with pytest.raises(FatalClientError):
        producer_with(client).send("orders", b"v")


def test_messages_of_a_client_that_failed_say_what_it_failed_with() -> None:
    client = FakeClient()
    client.auto = False
    delivery = producer_with(client).send("orders", b"v")
    client.failure = Code(Code.CLUSTER_AUTHORIZATION_FAILED, "no right", fatal=True)
    delivery(Code(Code._PURGE_QUEUE), FakeClient._message("orders", 0, -1, None))

    with pytest.raises(AuthorizationFailed, match=r"needs IdempotentWrite on the cluster(.|\n)*no right"):
        delivery.result(1)


def test_a_topic_that_may_not_be_written_is_looked_up_again() -> None:
    client = FakeClient()
    client.auto = False
    producer = producer_with(client)
    refused = producer.send("orders", b"v")
    refused(Code(Code.TOPIC_AUTHORIZATION_FAILED), FakeClient._message("orders", 0, -1, None))
    producer.send("orders", b"v")

    assert client.lookups == 2


def test_produce_returns_places_in_the_callers_order() -> None:
    client = FakeClient()
    places = producer_with(client).produce("orders", [b"a", ("k", b"b"), Record(b"c", partition=2)], partition=1)

    assert [RecordMetadata("orders", p, o, 1.5) for p, o in ((1, 0), (1, 1), (2, 2))] == places


def test_producing_nothing_needs_no_client() -> None:
    client = FakeClient()

    assert producer_with(client).produce("orders", []) == []
    assert client.events == []


def test_malformed_messages_send_nothing() -> None:
    client = FakeClient()
    with pytest.raises(TypeError):
        producer_with(client).produce("orders", [b"a", 7])  # type: ignore[list-item]  # that is the point

    assert client.taken == []


def test_case_05_a_partial_failure_tells_the_delivered_from_the_failed_in_the_callers_order() -> None:
    client = FakeClient()
    client.refuse_from = 1_331
    records = [Record(f"value-{number}", key=f"key-{number}") for number in range(2_000)]
    with pytest.raises(ProduceError, match="669 of 2000 messages for topic 'orders'") as caught:
        producer_with(client).produce("orders", records, partition=0)
    error = caught.value

    assert len(error.delivered) == 1_331
    assert records[1_331:] == error.failed
    assert "KAFKA_STORAGE_ERROR" in error.reason
    assert error.code == "KAFKA_STORAGE_ERROR"
    assert error.retryable
    assert ProduceError is type(error)


def test_what_is_not_confirmed_in_time_is_failed() -> None:
    client = FakeClient()
    client.auto = False
    with pytest.raises(ProduceError, match=r"not confirmed within 0.02 s \(it may still be written\)") as caught:
        producer_with(client).produce("orders", [b"a", b"b"], timeout=0.02)

    assert [Record(b"a"), Record(b"b")] == caught.value.failed


def test_all_too_large_is_message_too_large() -> None:
    client = FakeClient()
    client.raises = 4 * [KafkaException(Code(Code.MSG_SIZE_TOO_LARGE))]
    with pytest.raises(MessageTooLarge) as caught:
        producer_with(client).produce("orders", [b"a", b"b"])

    assert len(caught.value.failed) == 2


def test_case_11_a_stopped_producer_names_its_app() -> None:
    client = FakeClient()
    producer = producer_with(client)
    producer.send("orders", b"v")

    assert producer.close() == 0
    for call in (
        lambda: producer.send("orders", b"v"),
        lambda: producer.produce("orders", [b"v"]),
        lambda: producer.warm_up("orders"),
        producer.wait_ready,
    ):
        with pytest.raises(NotStarted, match="App 'shop' is stopped"):
            call()
    assert producer.close() == 0
    assert client.events == ["made", "flush", "stop"]


def test_closing_gives_up_what_is_not_confirmed_and_says_how_many(caplog: pytest.LogCaptureFixture) -> None:
    client = FakeClient()
    client.auto = False
    producer = producer_with(client)
    delivery = producer.send("orders", b"v")
    with caplog.at_level(logging.WARNING):
        lost = producer.close(0.1)

    assert lost == 1
    assert caplog.records[0].message == "1 messages were not confirmed by Kafka within 0.1 s and are given up"
    assert delivery.exception(0) is not None


def test_closing_quietly_warns_nobody(caplog: pytest.LogCaptureFixture) -> None:
    client = FakeClient()
    client.auto = False
    producer = producer_with(client)
    producer.send("orders", b"v")
    with caplog.at_level(logging.WARNING):
        lost = producer.close(0.1, quietly=True)

    assert lost == 1
    assert caplog.records == []


def test_an_observer_hears_of_every_report() -> None:
    client, listener = FakeClient(), Listener()
    client.refuse_from = 1
    producer = producer_with(client, listener)
    producer.send("orders", b"a")
    producer.send("orders", b"b")

    assert listener.heard == [("orders", "ok", 0.25, None), ("orders", "error", 0.25, "KAFKA_STORAGE_ERROR")]


def test_a_tracer_may_add_headers_and_is_told_the_end() -> None:
    ended: list[Any] = []

    class Tracer(Observer):
        @staticmethod
        def trace_send(topic: str, headers: Any) -> Any:
            return [*headers, ("traceparent", b"00")], lambda metadata, error: ended.append((metadata, error))

    client = FakeClient()
    producer_with(client, Tracer()).send("orders", b"v", headers={"a": "1"})

    assert client.taken[0][7] == [("a", b"1"), ("traceparent", b"00")]
    assert [(RecordMetadata("orders", 0, 0, 1.5), None)] == ended


def test_a_send_inside_a_call_is_tied_to_it() -> None:
    call = context.Context(None, [], None, 1)  # type: ignore[arg-type]  # nothing of the site is used
    token = context._ACTIVE.set(call)
    try:
        delivery = producer_with(FakeClient()).send("orders", b"v")
    finally:
        context._ACTIVE.reset(token)

    assert [delivery] == call.sends


def test_a_forked_child_makes_its_own_client() -> None:
    client = FakeClient()
    producer = producer_with(client)
    producer.send("orders", b"v")
    producer._after_fork()
    producer.send("orders", b"v")

    assert client.events == ["made", "abandon", "made"]
