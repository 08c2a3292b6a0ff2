"""The transactional producer over a client that does what each test says."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from elsa.config import load
from elsa.errors import FatalClientError, TransactionFenced
from elsa.kafka import transactions
from elsa.kafka.membership import Proof
from elsa.kafka.transactions import TransactionalProducer

if TYPE_CHECKING:
    from collections.abc import Iterator


class Raw:
    """Commits offsets as `answer` says; `release` ends a call that hangs."""

    def __init__(self, _: dict[str, Any]) -> None:
        self.release = threading.Event()
        self.answers: list[BaseException | None] = []
        self.hangs = False
        self.timeouts: list[float] = []

    def send_offsets_to_transaction(self, _lines: Any, _group: Any, timeout: float) -> None:
        self.timeouts.append(timeout)
        if self.hangs:
            self.release.wait(30)
            return
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer

    def poll(self, _: float) -> None:
        """Nothing to be heard."""

    def flush(self, _: float) -> int:
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer
        return 0


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(transactions, "RawProducer", Raw)
    monkeypatch.setattr(transactions, "_GRACE_SECONDS", 0.05)
    made: Any = TransactionalProducer(load({}, env={}).settings, "unit-mover")
    yield made
    made._raw.release.set()


def send(producer: Any, timeout: float = 0.1) -> None:
    producer.send_offsets({}, Proof("app.mover", "metadata"), timeout)


def test_offsets_are_sent(producer: Any) -> None:
    send(producer, 5.0)

    assert producer._raw.timeouts == [pytest.approx(5.0, abs=0.5)]


def test_what_fails_for_a_moment_is_sent_again(producer: Any) -> None:
    producer._raw.answers = [KafkaException(KafkaError(KafkaError._TRANSPORT, "away", False, True, False))]
    send(producer, 5.0)

    assert len(producer._raw.timeouts) == 2


def test_what_the_client_refuses_is_raised(producer: Any) -> None:
    producer._raw.answers = [KafkaException(KafkaError(KafkaError._FENCED, "another"))]

    with pytest.raises(TransactionFenced):
        send(producer)


def test_a_client_that_hangs_is_of_no_use_any_more(producer: Any) -> None:
    """librdkafka waits without end, past its timeout, for a coordinator that went away at the wrong moment."""
    producer._raw.hangs = True

    with pytest.raises(FatalClientError, match="transaction unit-mover: the client hangs and is made anew"):
        send(producer)


def test_who_is_fenced_before_its_commit_is_told_so(producer: Any) -> None:
    producer._raw.answers = [KafkaException(KafkaError(KafkaError._FENCED, "somebody else", True))]

    with pytest.raises(TransactionFenced):
        producer.commit(5.0)
