"""A static member that was expelled and joins anew without a word: with librdkafka's mock, which refuses as told."""

from __future__ import annotations

import ctypes
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError as ClientError

from elsa.config import Settings
from elsa.errors import KafkaError
from elsa.kafka import membership
from elsa.kafka.consumer import Committed, GroupConsumer
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

JOIN_GROUP = 11
PARTITIONS = 4
BOTH = ["t"] * PARTITIONS + ["u"] * PARTITIONS


class Mock:
    """librdkafka's mock cluster by its C functions: only they can have a request refused."""

    def __init__(self) -> None:
        # loaded by confluent_kafka before
        path = re.search(r"\S*librdkafka\S*", Path("/proc/self/maps").read_text())
        assert path is not None
        self._library = library = ctypes.CDLL(path.group())
        library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        text = ctypes.create_string_buffer(512)
        config = ctypes.c_void_p(library.rd_kafka_conf_new())
        library.rd_kafka_conf_set(config, b"log_level", b"0", text, ctypes.c_size_t(512))
        self._owner = ctypes.c_void_p(library.rd_kafka_new(0, config, text, ctypes.c_size_t(512)))
        self._cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(self._owner, 1))
        self.bootstrap = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        for topic in (b"t", b"u"):
            library.rd_kafka_mock_topic_create(self._cluster, topic, PARTITIONS, 1)

    def answer(self, request: int, errors: Sequence[int]) -> None:
        """The next requests of this kind get these errors."""
        codes = (ctypes.c_int * len(errors))(*errors)
        push = self._library.rd_kafka_mock_push_request_errors_array
        push(self._cluster, ctypes.c_int16(request), ctypes.c_size_t(len(errors)), codes)

    def stop(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._owner)


@pytest.fixture
def mock() -> Iterator[Mock]:
    made = Mock()
    yield made
    made.stop()


class Member:
    """A consumer that takes what it gets, and notes what it is told."""

    def __init__(self, brokers: str, instance: str) -> None:
        self.told: list[tuple[str, list[str]]] = []
        settings = Settings(brokers=brokers, session_timeout=6.0, heartbeat_interval=0.3)
        self.consumer = GroupConsumer(
            settings, "g", instance=instance, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        self.consumer.subscribe(["t"])

    def _assigned(self, partitions: list[TopicPartition]) -> None:
        self.told.append(("assigned", [p.topic for p in partitions]))
        self.consumer.assign(dict.fromkeys(partitions, 0))

    def _revoked(self, partitions: list[TopicPartition]) -> None:
        self.told.append(("revoked", [p.topic for p in partitions]))
        self.consumer.unassign(partitions)

    def _lost(self, partitions: list[TopicPartition]) -> None:
        self.told.append(("lost", [p.topic for p in partitions]))
        self.consumer.unassign(partitions)

    @property
    def owned(self) -> list[str]:
        return sorted(p.topic for p in self.consumer.assigned())


def poll_until(condition: Any, *members: Member) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, [member.told for member in members]
        for member in members:
            member.consumer.poll(0.05)


def test_who_joins_anew_unnoticed_has_lost_everything_and_gets_it_anew(mock: Mock) -> None:
    member = Member(mock.bootstrap, "one")
    poll_until(lambda: member.owned == ["t"] * PARTITIONS, member)
    before = member.consumer.proof()
    member.told.clear()
    # it asks to join again by itself, and hears that nobody knows it
    mock.answer(JOIN_GROUP, [ClientError.UNKNOWN_MEMBER_ID])
    member.consumer.subscribe(["t", "u"])
    poll_until(lambda: member.owned == BOTH, member)
    after, told = member.consumer.proof(), list(member.told)
    member.consumer.close()

    assert before is not None
    assert after is not None
    assert membership.member(after.group_metadata()) != membership.member(before.group_metadata())
    assert told[0] == ("lost", ["t"] * PARTITIONS), told
    assert sorted(topic for what, topics in told for topic in topics if what == "assigned") == BOTH
    assert "revoked" not in [what for what, _ in told]


class Replaced:
    """A client that is another member by now, and has not said so yet."""

    def __init__(self, member: bytes) -> None:
        self.metadata = b"CGMDv2:\x05\0\0\0g\0" + member + b"\0\0"
        self.committed: list[Any] = []

    def consumer_group_metadata(self) -> bytes:
        return self.metadata

    def commit(self, **what: Any) -> None:
        self.committed.append(what)


@pytest.mark.parametrize("member", [b"", b"another"])
def test_who_is_another_member_commits_and_proves_nothing(member: bytes) -> None:
    consumer = GroupConsumer(Settings(brokers="127.0.0.1:1"), "g")
    consumer._consumer.close()
    client = consumer._consumer = Replaced(b"the-same")  # type: ignore[assignment]  # a stand-in
    consumer._came([])
    where = {TopicPartition("t", 0): Committed(3, "")}
    consumer.commit(where)
    assert consumer.proof() is not None
    client.metadata = Replaced(member).metadata

    assert consumer.proof() is None
    with pytest.raises(KafkaError, match="expelled"):
        consumer.commit(where)
    error, fenced = consumer.commit_now(where)
    assert error is not None
    assert fenced
    assert len(client.committed) == 1
