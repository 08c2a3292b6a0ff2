"""Asks about many groups and partitions in few requests, each of which may fail for itself; for elsa.monitor.survey.

`describe_consumer_groups` and `list_consumer_group_offsets` of librdkafka 2.16 can end the process when a broker
goes away or a coordinator moves: whoever calls this lives in a process of its own (elsa.monitor.scout).
"""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka import IsolationLevel as Isolation
from confluent_kafka import TopicPartition as RawPartition
from confluent_kafka.admin._listoffsets import OffsetSpec

from elsa.clock import SYSTEM
from elsa.errors import BrokerUnavailable, ElsaError
from elsa.kafka.admin import TIMEOUT_SECONDS, Admin, GroupInfo
from elsa.kafka.group_operations import described, word
from elsa.kafka.offset_operations import committed_offsets
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from elsa.config import Settings


class Inquiry:
    """One Admin; every method takes at most `timeout` seconds for all that it asks, as that does.

    What is asked of one group or partition gives its answer or its ElsaError; what says nothing of any of them
    (no broker answers, the credentials are refused) is raised.
    """

    def __init__(self, settings: Settings, timeout: float = TIMEOUT_SECONDS) -> None:
        self._admin = Admin(settings)
        self._timeout = timeout

    def partition_counts(self) -> dict[str, int]:
        """Every topic with its number of partitions."""
        return self._admin.partition_counts(self._timeout)

    def groups(self) -> tuple[dict[str, tuple[str, str]], list[ElsaError]]:
        """(state, protocol) of every group by its name, and what brokers said that did not tell theirs."""
        future = self._admin._client().list_consumer_groups(request_timeout=self._timeout)
        found = self._admin._wait(future, self._timeout, operation="Describe")
        failures = [self._admin._translated(error, operation="Describe") for error in found.errors or ()]
        if failures and not found.valid:
            raise failures[0]
        return {each.group_id: (word(each.state), word(each.type)) for each in found.valid}, failures

    def describe(self, names: Sequence[str]) -> dict[str, GroupInfo | ElsaError]:
        """What their coordinators know of these groups; one that does not exist is in the state `dead`."""
        return self._of_coordinators(names, self._describe)

    def _describe(self, names: Sequence[str], timeout: float) -> dict[str, GroupInfo | ElsaError]:
        futures = self._admin._client().describe_consumer_groups(list(names), request_timeout=timeout)
        return self._answers(futures, lambda name: {"group": name}, described, timeout)

    def committed(self, names: Sequence[str]) -> dict[str, dict[TopicPartition, int] | ElsaError]:
        """What these groups have committed, also in topics that are gone."""
        return self._of_coordinators(names, self._committed)

    def _committed(self, names: Sequence[str], timeout: float) -> dict[str, dict[TopicPartition, int] | ElsaError]:
        futures: dict[str, Any] = {}
        for name in names:  # the client takes one group at a time
            wanted = [ConsumerGroupTopicPartitions(name)]
            futures |= self._admin._client().list_consumer_group_offsets(wanted, request_timeout=timeout)
        return self._answers(
            futures, lambda name: {"group": name}, lambda _, found: committed_offsets(found.topic_partitions), timeout
        )

    def _of_coordinators(
        self, names: Sequence[str], ask: Callable[[Sequence[str], float], dict[str, Any]]
    ) -> dict[str, Any]:
        """As `Admin._of_coordinator`, for many groups: only those are asked for again that were not told of."""
        if not names:
            return {}
        client = self._admin._steady_client()
        found = ask(names, self._timeout / 2)
        lost = [name for name, answer in found.items() if isinstance(answer, BrokerUnavailable)]
        if lost and self._admin._renew(client):
            found |= ask(lost, self._timeout)
        return _told(found)

    def offsets(
        self, partitions: Iterable[TopicPartition], *, end: bool, read_committed: bool = True
    ) -> dict[TopicPartition, int | ElsaError]:
        """The first offset of each partition, or its `end`: the last stable offset, or the high watermark."""
        spec = OffsetSpec.latest() if end else OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # a gap in the client's stubs
        wanted = {RawPartition(*each): spec for each in partitions}
        if not wanted:
            return {}
        isolation = Isolation.READ_COMMITTED if read_committed else Isolation.READ_UNCOMMITTED
        futures = self._admin._client().list_offsets(wanted, isolation_level=isolation, request_timeout=self._timeout)
        by_partition = {TopicPartition(raw.topic, raw.partition): future for raw, future in futures.items()}
        found = self._answers(
            by_partition,
            lambda each: {"topic": each.topic, "partition": each.partition},
            lambda _, raw: int(raw.offset),
            self._timeout,
        )
        return _told(found)

    def _answers(
        self,
        futures: Mapping[Any, Any],
        facts: Callable[[Any], dict[str, Any]],
        read: Callable[[Any, Any], Any],
        timeout: float,
    ) -> dict[Any, Any]:
        """The answer or the error of each; all were asked at once, so all have the same time."""
        end = SYSTEM.monotonic() + timeout + 1
        found: dict[Any, Any] = {}
        for key, future in futures.items():
            try:
                found[key] = read(key, future.result(max(0.0, end - SYSTEM.monotonic())))
            except KafkaException as error:
                found[key] = self._admin._translated(error, operation="Describe", **facts(key))
            except concurrent.futures.TimeoutError:
                found[key] = BrokerUnavailable(f"no answer about {key} within {timeout:g} s", code="_TIMED_OUT")
        return found


def _told(found: dict[Any, Any]) -> dict[Any, Any]:
    """The answers; raises what says nothing of any of them."""
    errors = [each for each in found.values() if isinstance(each, ElsaError)]
    if found and len(errors) == len(found) and isinstance(errors[0], BrokerUnavailable):
        raise errors[0]
    return found
