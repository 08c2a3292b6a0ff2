"""The engine's view of one consumer: what answers of the broker come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as Line

from elsa.config import Settings
from elsa.kafka import membership
from elsa.kafka.consumer import GroupConsumer
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)


class Answered:
    """A line of a commit's answer: confluent-kafka lets nobody make one with an error."""

    def __init__(self, partition: TopicPartition, offset: int, error: KafkaError | None = None) -> None:
        self.topic, self.partition = partition
        self.offset = offset
        self.error = error


@pytest.fixture
def answers() -> list[Any]:
    return []


@pytest.fixture
def consumer(answers: list[Any]) -> Iterator[GroupConsumer]:
    made = GroupConsumer(
        Settings(brokers="127.0.0.1:1"),
        "g",
        on_commit=lambda error, fenced, partitions: answers.append((error is None, fenced, partitions)),
    )
    yield made
    made.close()


@pytest.mark.parametrize("group", [None, "g"])
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_poll_interval_below_the_clients_own_session_timeout_is_taken(
    group: str | None, protocol: Literal["classic", "consumer"]
) -> None:
    settings = Settings(
        brokers="127.0.0.1:1", group_protocol=protocol, max_poll_interval=6, session_timeout=6, heartbeat_interval=1
    )
    GroupConsumer(settings, group).close()


def test_what_was_refused_in_one_partition_was_committed_in_the_others(
    consumer: GroupConsumer, answers: list[Any]
) -> None:
    error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    # librdkafka names the error of the last line as that of the whole commit
    consumer._committed(error, [Answered(ZERO, 3), Answered(ONE, 4, error)])

    assert answers == [(True, False, [ZERO]), (False, False, [ONE])]


def test_an_error_without_a_partition_refuses_all(consumer: GroupConsumer, answers: list[Any]) -> None:
    consumer._committed(KafkaError(KafkaError.ILLEGAL_GENERATION), [Line(*ZERO, 3), Line(*ONE, 4)])

    assert answers == [(False, True, [ZERO, ONE])]


def test_a_commit_without_an_error_is_committed(consumer: GroupConsumer, answers: list[Any]) -> None:
    consumer._committed(None, [Line(*ZERO, 3), Line(*ONE, 4)])

    assert answers == [(True, False, [ZERO, ONE])]


def test_giving_up_what_was_never_taken_does_not_keep_the_rest(consumer: GroupConsumer) -> None:
    # a partition of a topic that no handler here wants is assigned by the group and never taken
    consumer.assign({ZERO: 0})
    assert not consumer.unassign([ONE, ZERO])

    assert consumer.assigned() == []


def test_it_is_told_whether_partitions_are_left(consumer: GroupConsumer) -> None:
    consumer.assign({ZERO: 0, ONE: 0})

    assert consumer.unassign([ZERO])
    assert not consumer.unassign([ONE])


def test_what_one_fetch_brings_does_not_grow_with_the_number_of_partitions(consumer: GroupConsumer) -> None:
    config = consumer._config(Settings(brokers="127.0.0.1:1"), "g", None)

    assert config["fetch.max.bytes"] <= 4 * 1024 * 1024


def test_what_the_user_says_of_fetches_counts(consumer: GroupConsumer) -> None:
    settings = Settings(brokers="127.0.0.1:1", kafka={"fetch.max.bytes": 50_000_000})

    assert consumer._config(settings, "g", None)["fetch.max.bytes"] == 50_000_000


class Client:
    """Writes down what is asked of it; refuses to seek in partition 0."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def resume(self, lines: list[Line]) -> None:
        self.calls.append(("resume", [line.partition for line in lines]))

    def seek(self, line: Line) -> None:
        self.calls.append(("seek", line.partition, line.offset))
        if line.partition == 0:
            raise KafkaException(KafkaError(KafkaError._STATE))

    def close(self) -> None:
        """Nothing was opened."""


def test_partitions_that_go_on_are_sought_after_they_were_resumed(consumer: GroupConsumer) -> None:
    """Only that makes librdkafka fetch at once; where it refuses, they go on by themselves."""
    consumer._consumer.close()
    client = Client()
    consumer._consumer = client  # type: ignore[assignment]  # a stand-in
    consumer.resume_at({ZERO: 5, ONE: 7, TopicPartition("t", 2): -1})

    assert client.calls == [("resume", [0, 1, 2]), ("seek", 0, 5), ("seek", 1, 7)]


@pytest.mark.parametrize(
    ("metadata", "proves"),
    [
        (b"CGMDv2:\x05\0\0\0group\0member-1\0\0", True),
        (b"CGMDv2:\x05\0\0\0group\0\0\0", False),
        (b"CGMDv2:\xff\xff\xff\xffgroup\0member-1\0\0", False),
        (b"CGMDv3:whatever", True),
    ],
)
def test_metadata_without_generation_or_member_proves_nothing(metadata: bytes, *, proves: bool) -> None:
    assert membership.proves(metadata) == proves


def test_a_client_that_is_in_no_group_yet_proves_nothing() -> None:
    consumer = GroupConsumer(Settings(brokers="127.0.0.1:1"), "g")
    proof = consumer.proof()
    consumer.close()

    assert proof is None


class Arrived:
    """A message of a partition, as the client hands it over."""

    def __init__(self, where: TopicPartition, offset: int, error: KafkaError | None = None) -> None:
        self._where, self._offset, self._error = where, offset, error

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return self._where.topic

    def partition(self) -> int:
        return self._where.partition

    def offset(self) -> int:
        return self._offset


class Interrupted:
    """A client in whose second call a callback runs: nothing at first, one message, then that callback and the rest."""

    def __init__(self, first: Arrived, callback: Callable[[], object], rest: list[Arrived]) -> None:
        self._first, self._callback, self._rest = first, callback, rest
        self._is_asked = False
        self.owned: list[Line] = []

    def consume(self, most: int, timeout: float) -> list[Arrived]:
        if not self._is_asked:
            return []
        self._callback()
        return list(self._rest)

    def poll(self, timeout: float) -> Arrived:
        self._is_asked = True
        return self._first

    def assignment(self) -> list[Line]:
        return self.owned

    def incremental_assign(self, lines: list[Line]) -> None:
        self.owned += lines

    def incremental_unassign(self, lines: list[Line]) -> None:
        self.owned = [line for line in self.owned if line not in lines]

    def close(self) -> None:
        """It has nothing to close."""


def test_a_message_that_came_before_its_partition_was_given_anew_is_not_one_of_the_new_ones(
    consumer: GroupConsumer,
) -> None:
    # who went on behind it would take everything from the new offset up to it for fetched twice
    def given_anew() -> None:
        consumer.unassign([ZERO])
        consumer.assign({ZERO: 40})

    stale, other = Arrived(ZERO, 50), Arrived(ONE, 7)
    client = Interrupted(stale, given_anew, [other])
    consumer._consumer.close()
    consumer._consumer = client  # type: ignore[assignment]  # a stand-in
    consumer._login = Untended()  # type: ignore[assignment]
    consumer.assign({ZERO: 50, ONE: 7})

    assert consumer.poll(0.1) == [other]

    client._callback = lambda: consumer.unassign([ONE])
    client._is_asked = False
    assert consumer.poll(0.1) == [stale, other]

    # the news that a topic is gone is no message
    client._first = Arrived(ZERO, -1, KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    client._callback = lambda: consumer.unassign([ZERO])
    client._is_asked = False
    assert consumer.poll(0.1) == [client._first, other]


class Untended:
    """A login that needs nothing."""

    def tend(self, client: object) -> None:
        """It stays as it is."""
