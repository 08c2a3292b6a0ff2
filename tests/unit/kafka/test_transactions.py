"""The transactional producer over the mock cluster: what fails how; what the broker does is tested on a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Message

from elsa.config import Settings
from elsa.errors import AuthorizationFailed, BrokerUnavailable, ConfigError, TransactionAborted
from elsa.kafka import transactions
from elsa.kafka.transactions import TransactionalProducer, is_verdict, take_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.kafka.mock import MockCluster

TIMEOUT = 60.0


@pytest.fixture
def settings(mock_kafka: MockCluster) -> Settings:
    return Settings(name="unit-transactions", brokers=mock_kafka.bootstrap)


@pytest.fixture
def make(settings: Settings) -> Iterator[Callable[[str], TransactionalProducer]]:
    made: list[TransactionalProducer] = []

    def open_one(transactional_id: str) -> TransactionalProducer:
        made.append(TransactionalProducer(settings, transactional_id))
        made[-1].init(TIMEOUT)
        return made[-1]

    yield open_one
    for one in made:
        one.close()


def test_a_transaction_can_be_given_up_and_another_begun(make: Callable[[str], TransactionalProducer]) -> None:
    producer = make("again")
    producer.begin()
    producer.produce("tx-again", b"1", key=None)
    producer.abort(TIMEOUT)
    producer.begin()
    producer.produce("tx-again", b"2", key=None)
    producer.commit(TIMEOUT)


def test_a_message_that_is_too_large_fails_the_transaction_and_is_named(
    make: Callable[[str], TransactionalProducer],
) -> None:
    producer = make("large")
    producer.begin()
    producer.produce("tx-large", b"x" * 12_000_000, key=None, mark="the large one")
    producer.produce("tx-large", b"small", key=None, mark="the small one")

    with pytest.raises(TransactionAborted, match="transaction large: "):
        producer.commit(TIMEOUT)
    ((error, mark),) = producer.failures()
    assert mark == "the large one"
    assert error.code == "MSG_SIZE_TOO_LARGE"  # type: ignore[attr-defined]  # a KafkaError
    producer.abort(TIMEOUT)
    producer.begin()
    assert producer.failures() == []
    producer.abort(TIMEOUT)


def test_after_a_refused_message_it_goes_on_as_a_new_client(make: Callable[[str], TransactionalProducer]) -> None:
    producer = make("spoiled")
    producer.begin()
    producer.produce("tx-spoiled", b"x" * 12_000_000, key=None, mark="the large one")
    with pytest.raises(TransactionAborted):
        producer.commit(TIMEOUT)
    first = producer._raw

    assert not producer.recover(TIMEOUT)
    assert [mark for _, mark in producer.failures()] == ["the large one"]
    producer.init(TIMEOUT)
    assert producer._raw is not first
    assert producer.failures() == []
    producer.begin()
    producer.produce("tx-spoiled", b"small", key=None)
    producer.commit(TIMEOUT)


def test_what_failed_without_a_refusal_is_only_aborted(make: Callable[[str], TransactionalProducer]) -> None:
    producer = make("given-up")
    producer.begin()
    producer.produce("tx-given-up", b"1", key=None)

    assert producer.recover(TIMEOUT)
    producer.begin()
    producer.commit(TIMEOUT)


def test_an_abort_that_fails_is_left_to_the_successor_where_that_is_wanted(
    make: Callable[[str], TransactionalProducer], monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = make("stuck")
    producer.begin()

    def fails(_: float) -> None:
        raise BrokerUnavailable("nobody is there")

    with monkeypatch.context() as patch:
        patch.setattr(producer, "abort", fails)
        with pytest.raises(BrokerUnavailable):
            producer.recover(TIMEOUT)
        assert not producer.recover(TIMEOUT, (BrokerUnavailable,))
    producer.init(TIMEOUT)
    producer.begin()
    producer.commit(TIMEOUT)


def test_an_id_is_taken_over_as_soon_as_a_broker_answers_unless_one_has_to_stop() -> None:
    class Away:
        def __init__(self, times: int) -> None:
            self.times = times

        def init(self, timeout: float) -> None:
            if self.times:
                self.times -= 1
                raise BrokerUnavailable("nobody is there")

    waits: list[BrokerUnavailable] = []
    polls: list[bool] = []
    found: Any = Away(2)
    take_over(found, 1.0, is_stopping=lambda: False, polled=lambda: polls.append(True), waits=waits.append)
    assert (found.times, len(waits), len(polls)) == (0, 2, 3)
    stopped: Any = Away(5)
    take_over(stopped, 1.0, is_stopping=lambda: stopped.times < 4, polled=lambda: None, waits=waits.append)

    assert (stopped.times, len(waits)) == (3, 4)


def test_a_step_out_of_turn_is_no_loop(make: Callable[[str], TransactionalProducer]) -> None:
    producer = make("turns")
    with pytest.raises(TransactionAborted, match="transaction turns: "):
        producer.produce("tx-turns", b"1", key=None)


def test_without_a_broker_it_says_so_in_time() -> None:
    producer = TransactionalProducer(Settings(name="unit-away", brokers="127.0.0.1:1"), "away")
    with pytest.raises(BrokerUnavailable):
        producer.init(0.5)
    producer.close()


def test_a_wrong_setting_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "client_config", lambda *_, **__: {"no.such.setting": "1"})
    with pytest.raises(ConfigError, match="the producer's configuration is refused"):
        TransactionalProducer(settings, "wrong")


def test_an_id_that_is_not_allowed_is_told_with_what_to_do(
    make: Callable[[str], TransactionalProducer], monkeypatch: pytest.MonkeyPatch
) -> None:
    from confluent_kafka import KafkaError, KafkaException

    producer = make("forbidden")

    class Refusing:
        def begin_transaction(self) -> None:
            raise KafkaException(KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "no"))

    monkeypatch.setattr(producer, "_raw", Refusing())
    with pytest.raises(
        AuthorizationFailed, match=r"needs Write on transactional id 'forbidden'(.|\n)*--transactional-id forbidden"
    ):
        producer.begin()
    monkeypatch.undo()


class Vague:
    """A client that says of the first message that it was written, and not where; `silent` ones get no report."""

    def __init__(self, *, silent: int = 0) -> None:
        self.silent = silent
        self.reports: list[Any] = []
        self.committed = 0

    def begin_transaction(self) -> None:
        pass

    def produce(self, topic: str, value: bytes, key: None, partition: int, report: Any, *_: Any) -> None:
        self.reports.append((report, Message(topic, 0, len(self.reports) - 1 if self.reports else -1001)))

    def flush(self, timeout: float) -> int:
        for report, message in self.reports:
            report(None, message)
        self.reports.clear()
        return self.silent

    def commit_transaction(self, timeout: float) -> None:
        self.committed += 1


def test_a_message_that_may_not_have_been_written_is_not_committed_without_it(
    make: Callable[[str], TransactionalProducer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """See test_unconfirmed.py; the mock cluster refuses a first message with a wrong number in a transaction."""
    producer, client = make("vague"), Vague()
    monkeypatch.setattr(producer, "_raw", client)
    producer.begin()
    producer.produce("t", b"first", key=None, mark="the first")
    producer.produce("t", b"second", key=None, mark="the second")
    with pytest.raises(TransactionAborted, match="may not have been written"):
        producer.commit(TIMEOUT)
    failures = producer.failures()
    monkeypatch.undo()

    assert client.committed == 0
    assert [mark for _, mark in failures] == ["the first"]
    assert not any(is_verdict(error) for error, _ in failures), "the message itself is not to blame"


def test_what_nothing_was_heard_of_is_not_committed(
    make: Callable[[str], TransactionalProducer], monkeypatch: pytest.MonkeyPatch
) -> None:
    producer, client = make("silent"), Vague(silent=2)
    monkeypatch.setattr(producer, "_raw", client)
    producer.begin()
    with pytest.raises(BrokerUnavailable, match=r"2 messages were not confirmed within 0\.3 s"):
        producer.commit(0.3)
    client.silent = 0
    producer.commit(0.3)
    monkeypatch.undo()

    assert client.committed == 1
