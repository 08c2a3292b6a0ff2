"""The table of cancellations: what counts, for how long, and when it is complete."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError as ClientError

from elsa import headers as names
from elsa.config import Settings
from elsa.delays.cancelled import Cancelled
from elsa.errors import AuthorizationFailed, FatalClientError
from elsa.kafka.consumer import BEGINNING
from elsa.message import TopicPartition
from elsa.testing.clock import FakeClock


class Raw:
    def __init__(self, key: bytes | None, value: bytes | None, until: bytes | None = None, code: int = 0) -> None:
        self._fields = key, value, until
        self._code = code

    def error(self) -> Any:
        return ClientError(self._code) if self._code else None

    def topic(self) -> str:
        return "shop.cancelled"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def key(self) -> bytes | None:
        return self._fields[0]

    def value(self) -> bytes | None:
        return self._fields[1]

    def headers(self) -> Any:
        until = self._fields[2]
        return None if until is None else [(names.EXPIRES_AT, until)]


END = Raw(None, None, code=ClientError._PARTITION_EOF)


class Consumer:
    """Gives what a test has put there."""

    def __init__(self) -> None:
        self.slices: list[list[Raw]] = []
        self.begins: list[tuple[TopicPartition, int]] = []
        self.is_closed = False

    def assign(self, offsets: dict[TopicPartition, int]) -> None:
        self.begins += offsets.items()

    def reassign(self, where: TopicPartition, offset: int) -> None:
        self.begins.append((where, offset))

    def poll(self, timeout: float) -> list[Raw]:
        return self.slices.pop(0) if self.slices else []

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_000.0)


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


@pytest.fixture
def cancelled(clock: FakeClock, consumer: Consumer) -> Cancelled:
    made = Cancelled(Settings(name="shop"), clock, lambda *_, **__: consumer)  # type: ignore[arg-type]  # a stand-in
    made.open(1)
    return made


def has(cancelled: Cancelled, message_id: str) -> bool:
    return cancelled.has([("a", b"1"), (names.ID, message_id.encode())])


def test_it_is_complete_when_the_end_was_reached(cancelled: Cancelled, consumer: Consumer) -> None:
    assert consumer.begins == [(TopicPartition("shop.cancelled", 0), BEGINNING)]
    consumer.slices = [[Raw(b"one", b"1", b"2000")], []]
    cancelled.read()
    assert not cancelled.is_complete

    consumer.slices = [[Raw(b"two", b"1", b"2000"), END]]
    cancelled.read()
    assert cancelled.is_complete
    assert [has(cancelled, one) for one in ("one", "two", "three")] == [True, True, False]
    assert not cancelled.has([])
    cancelled.close()
    assert consumer.is_closed
    assert not cancelled.is_complete


def test_a_cancellation_holds_as_long_as_it_says(cancelled: Cancelled, consumer: Consumer, clock: FakeClock) -> None:
    consumer.slices = [[Raw(b"a", b"1", b"1010"), Raw(b"over", b"1", b"999"), Raw(b"foreign", b"1", b"some time")]]
    cancelled.read()
    assert [has(cancelled, one) for one in ("a", "over", "foreign")] == [True, False, True]

    clock.advance(11)
    assert not has(cancelled, "a")
    clock.advance(3_600)
    cancelled.read()
    assert len(cancelled) == 1


def test_a_tombstone_takes_it_back(cancelled: Cancelled, consumer: Consumer) -> None:
    consumer.slices = [[Raw(b"a", b"1", b"2000"), Raw(b"a", None)]]
    cancelled.read()

    assert not has(cancelled, "a")


def test_where_old_ones_were_deleted_it_reads_what_is_there(cancelled: Cancelled, consumer: Consumer) -> None:
    consumer.slices = [[Raw(None, None, code=ClientError._AUTO_OFFSET_RESET)]]
    cancelled.read()

    assert consumer.begins[1:] == [(TopicPartition("shop.cancelled", 0), BEGINNING)]


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (ClientError.TOPIC_AUTHORIZATION_FAILED, AuthorizationFailed, "needs Read on topic 'shop.cancelled'"),
        (ClientError._FATAL, FatalClientError, "the Kafka client that reads shop.cancelled is beyond repair"),
    ],
)
def test_what_may_not_be_read_or_has_broken_is_raised(
    cancelled: Cancelled, consumer: Consumer, code: int, error: type[Exception], text: str
) -> None:
    consumer.slices = [[Raw(None, None, code=code)]]

    with pytest.raises(error, match=text):
        cancelled.read()


def test_no_right_on_a_group_is_needed(cancelled: Cancelled, consumer: Consumer) -> None:
    consumer.slices = [[Raw(None, None, code=ClientError.GROUP_AUTHORIZATION_FAILED), END]]
    cancelled.read()

    assert cancelled.is_complete
