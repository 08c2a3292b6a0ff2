"""Where a partition begins when it is assigned: the committed offset, else the handler's `start=`."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from elsa.errors import KafkaError
from elsa.kafka.consumer import BEGINNING
from elsa.worker import progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.clock import Clock
    from elsa.kafka.consumer import Committed, GroupConsumer
    from elsa.message import TopicPartition
    from elsa.registry import Binding
    from elsa.worker.progress import Progress
    from elsa.worker.routes import Routes

log = logging.getLogger("elsa.worker")

#: seconds that one question to the broker may take while partitions are being assigned
QUESTION_SECONDS = 10.0
#: how long such questions are repeated while the coordinator is not available
PATIENCE_SECONDS = 30.0
#: pause between two such questions
AGAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Begin:
    """Where to begin: `offset` is BEGINNING (negative) when it is left to the log.

    `pinned` when it was resolved now from latest, a time or a number: it has to be committed before the first
    message runs, or a crash would resolve it again and lose what came between.
    """

    offset: int
    committed: int
    pinned: bool = False
    #: what a former owner had finished above it
    restored: Progress | None = None
    #: the commit has metadata that is not ours to read
    is_foreign: bool = False


#: at the first message that the log has
BEGIN = Begin(BEGINNING, -1)


def resolve(
    consumer: GroupConsumer, bindings: Mapping[TopicPartition, Binding], group: str | None, routes: Routes
) -> dict[TopicPartition, Begin]:
    """The beginning of each partition; raises the broker's error when it does not answer."""
    committed: Mapping[TopicPartition, Committed | None] = {}
    if group is not None and bindings:
        committed = consumer.committed(bindings, QUESTION_SECONDS)
    found: dict[TopicPartition, Begin] = {}
    for partition, binding in bindings.items():
        line = committed.get(partition)
        if line is None:
            # what came back before anybody read it must not be lost, wherever the handler wants to start
            found[partition] = (
                BEGIN if routes.is_retry(partition.topic) else _declared(consumer, partition, binding, group)
            )
            continue
        restored = progress.decode(line.metadata, line.offset)
        is_foreign = bool(line.metadata) and restored is None
        found[partition] = Begin(line.offset, line.offset, restored=restored, is_foreign=is_foreign)
    if foreign := [partition for partition, begin in found.items() if begin.is_foreign]:
        log.warning(
            "commit metadata that is not this version's, or is damaged, is ignored: what it may have said of finished "
            "messages above the committed offsets is lost, those messages run again",
            extra={"event": "metadata_ignored", "group": group, "partitions": [str(one) for one in foreign]},
        )
    return found


def _declared(consumer: GroupConsumer, partition: TopicPartition, binding: Binding, group: str | None) -> Begin:
    start = binding.first.declared.start
    if isinstance(start, dict):
        start = start.get(partition.partition)
    if start is None:
        # a message sent before the first worker of a group came must not be lost
        start = "earliest" if group is not None else "latest"
    if start == "earliest":
        return BEGIN
    return Begin(_ask(consumer, partition, start), -1, pinned=True)


def _ask(consumer: GroupConsumer, partition: TopicPartition, start: Any) -> int:
    if isinstance(start, int):
        return start
    if isinstance(start, datetime):
        offset = consumer.offsets_at([partition], int(start.timestamp() * 1000), QUESTION_SECONDS)[partition]
        if offset >= 0:
            return offset
    return consumer.watermarks(partition, QUESTION_SECONDS)[1]


def out_of_range(consumer: GroupConsumer, partition: TopicPartition, binding: Binding, position: int) -> int | None:
    """Where to go on when the log does not have the wanted offset (any more); None for `fail`."""
    policy = binding.first.declared.on_out_of_range
    low, high = consumer.watermarks(partition, QUESTION_SECONDS)
    facts: dict[str, Any] = {
        "event": "offset_out_of_range",
        "topic": partition.topic,
        "partition": partition.partition,
        "offset": position,
        "low": low,
        "high": high,
    }
    if policy == "fail":
        log.error("offset is out of range and the handler says on_out_of_range='fail'", extra=facts)
        return None
    target = low if policy == "earliest" else high
    skipped = max(0, target - position) if position >= 0 else 0
    log.warning("offset is out of range", extra={**facts, "going_on_at": target, "skipped": skipped})
    return target


def resolve_patiently(
    consumer: GroupConsumer,
    bindings: Mapping[TopicPartition, Binding],
    group: str | None,
    routes: Routes,
    clock: Clock,
) -> dict[TopicPartition, Begin]:
    """Like `resolve`, and asks again for a while when the coordinator moves or is still loading."""
    end = clock.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return resolve(consumer, bindings, group, routes)
        except KafkaError as error:
            if not error.retryable or clock.monotonic() >= end:
                raise
            # a coordinator that is still loading refuses at once: there is no event to wait for
            threading.Event().wait(AGAIN_SECONDS)
