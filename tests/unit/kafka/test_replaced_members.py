"""A static member that was expelled and joins anew without a word: with librdkafka's mock, which refuses as told."""

from __future__ import annotations

import time
from typing import Any

import pytest
from confluent_kafka import KafkaError as ClientError

from elsa.config import Settings
from elsa.errors import KafkaError
from elsa.kafka import membership
from elsa.kafka.consumer import Committed, GroupConsumer
from elsa.message import TopicPartition

from .refusing import PARTITIONS, RefusingMock

JOIN_GROUP = 11
BOTH = ["t"] * PARTITIONS + ["u"] * PARTITIONS


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


def test_who_joins_anew_unnoticed_has_lost_everything_and_gets_it_anew(refusing_mock: RefusingMock) -> None:
    member = Member(refusing_mock.bootstrap, "one")
    poll_until(lambda: member.owned == ["t"] * PARTITIONS, member)
    before = member.consumer.proof()
    member.told.clear()
    # it asks to join again by itself, and hears that nobody knows it
    refusing_mock.answer(JOIN_GROUP, [ClientError.UNKNOWN_MEMBER_ID])
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
