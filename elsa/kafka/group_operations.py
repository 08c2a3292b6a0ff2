"""What is asked and changed of consumer groups, through the one admin client; a part of elsa.kafka.admin."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException

from elsa.kafka.clusterclient import TIMEOUT_SECONDS, ClusterClient
from elsa.kafka.errors import ClientError, translate
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """One member of a consumer group and what is assigned to it."""

    member: str
    client: str
    host: str
    instance: str | None
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A consumer group as its coordinator knows it; `protocol` is classic or consumer."""

    name: str
    state: str
    protocol: str
    assignor: str
    coordinator: str
    members: tuple[MemberInfo, ...]


class GroupOperations(ClusterClient):
    """Groups, their members and what those hold."""

    def list_groups(self, timeout: float = TIMEOUT_SECONDS) -> list[tuple[str, str, str]]:
        """(name, state, protocol) of every consumer group."""
        found = self._wait(self._client().list_consumer_groups(request_timeout=timeout), timeout, operation="Describe")
        if not found.valid and found.errors:
            raise self._translated(found.errors[0], operation="Describe")
        return sorted((group.group_id, word(group.state), word(group.type)) for group in found.valid)

    def owned(self, group: str, timeout: float = TIMEOUT_SECONDS) -> set[TopicPartition] | None:
        """The partitions that the members of a classic group hold; None while it is not stable.

        Asked by the client's old call: `describe_consumer_groups` ends the process (an assertion in librdkafka
        2.16) when a broker goes away while it waits, and a worker asks just then.
        """
        client: Any = self._client()
        try:
            with warnings.catch_warnings():
                # it says that it is old; where warnings are errors, the client's C code stumbles over that
                warnings.simplefilter("ignore", DeprecationWarning)
                found = client.list_groups(group, timeout=timeout)
        except KafkaException as error:
            raise self._translated(error, group=group, operation="Describe") from error
        if not found or found[0].state != "Stable":
            return None
        return {partition for member in found[0].members for partition in _assignment(member.assignment)}

    def group(self, name: str, timeout: float = TIMEOUT_SECONDS) -> GroupInfo:
        """What the coordinator knows of a group; raises UnknownGroup."""
        ask = partial(self._of_coordinator, partial(self._describe_group, name))
        found = self._patiently(ask, timeout)
        if word(found.state) == "dead":
            raise translate(ClientError(ClientError.GROUP_ID_NOT_FOUND), group=name)
        return described(name, found)

    def _describe_group(self, name: str, timeout: float) -> Any:
        futures = self._client().describe_consumer_groups([name], request_timeout=timeout)
        return self._wait(futures[name], timeout, group=name, operation="Describe")

    def delete_group(self, name: str, timeout: float = TIMEOUT_SECONDS) -> None:
        """Delete a group with its offsets; raises UnknownGroup, GroupNotEmpty."""
        futures = self._client().delete_consumer_groups([name], request_timeout=timeout)
        self._wait(futures[name], timeout, group=name, operation="Delete")


def _assignment(data: bytes) -> list[TopicPartition]:
    """The partitions in a member's assignment: Kafka's consumer protocol, big-endian."""
    found = []
    (topics,), at = struct.unpack_from(">i", data, 2), 6
    for _ in range(topics):
        (length,) = struct.unpack_from(">h", data, at)
        topic = data[at + 2 : at + 2 + length].decode()
        at += 2 + length
        (count,) = struct.unpack_from(">i", data, at)
        found += [TopicPartition(topic, number) for number in struct.unpack_from(f">{count}i", data, at + 4)]
        at += 4 + 4 * count
    return found


def described(name: str, found: Any) -> GroupInfo:
    """What the client's answer says of a group."""
    node = found.coordinator
    return GroupInfo(
        name,
        word(found.state),
        word(found.type),
        found.partition_assignor or "",
        f"{node.host}:{node.port}" if node is not None else "",
        tuple(_member(member) for member in found.members),
    )


def _member(member: Any) -> MemberInfo:
    assigned: Sequence[Any] = member.assignment.topic_partitions if member.assignment is not None else ()
    return MemberInfo(
        member.member_id,
        member.client_id,
        member.host,
        member.group_instance_id or None,
        tuple(sorted(TopicPartition(raw.topic, raw.partition) for raw in assigned)),
    )


def word(value: Any) -> str:
    """A client enum's name in small letters (`STABLE` -> stable)."""
    return "unknown" if value is None else str(value.name).lower()
