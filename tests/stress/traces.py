"""Where a lost message was seen last: every copy of it in every topic, and what was committed; read by the run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_TIMEOUT = 20.0


def traces(brokers: str, prefix: str, numbers: Collection[int], groups: Collection[str]) -> list[str]:
    """A line for each copy of these messages in a handler's topics and in those of its app, oldest first.

    The former begin with `prefix`, the latter with its first word and a dot.

    `aborted`: its transaction was; readers of committed messages have not seen it.
    """
    consumers = {level: _consumer(brokers, level) for level in ("read_uncommitted", "read_committed")}
    topics = consumers["read_committed"].list_topics(timeout=_TIMEOUT).topics
    wanted = [name for name in topics if name.startswith((prefix, f"{prefix.split('-', maxsplit=1)[0]}."))]
    found: list[tuple[float, str]] = []
    try:
        for topic in wanted:
            for partition in topics[topic].partitions:
                where = TopicPartition(topic, partition)
                visible = {raw.offset() for raw in _read(consumers["read_committed"], where)}
                copies = [raw for raw in _read(consumers["read_uncommitted"], where) if _number(raw) in numbers]
                if copies:
                    commits = _commits(brokers, groups, where)
                    found += [(raw.timestamp()[1], _line(raw, raw.offset() in visible, commits)) for raw in copies]
    finally:
        for consumer in consumers.values():
            consumer.close()
    return [text for _, text in sorted(found)]


def _consumer(brokers: str, level: str, group: str = "stress-traces") -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": group,
            "isolation.level": level,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )


def _read(consumer: Consumer, where: TopicPartition) -> Iterator[Any]:
    low, _ = consumer.get_watermark_offsets(where, timeout=_TIMEOUT)
    consumer.assign([TopicPartition(where.topic, where.partition, low)])
    while (raw := consumer.poll(_TIMEOUT)) is not None and raw.error() is None:
        yield raw


def _number(raw: Any) -> int | None:
    try:
        return json.loads(raw.value())["number"]  # type: ignore[no-any-return]  # a Note
    except (ValueError, KeyError, TypeError):
        return None


def _commits(brokers: str, groups: Collection[str], where: TopicPartition) -> str:
    told = []
    for group in groups:
        consumer = _consumer(brokers, "read_committed", group)
        line = consumer.committed([where], timeout=_TIMEOUT)[0]
        consumer.close()
        if line.offset >= 0:
            told.append(f"{group} at {line.offset}")
    return ", ".join(told)


def _line(raw: Any, is_visible: bool, commits: str) -> str:  # noqa: FBT001 - one caller
    headers = {name: value.decode(errors="replace") for name, value in raw.headers() or () if value and len(value) < 99}
    state = "" if is_visible else " aborted"
    at = raw.timestamp()[1] / 1000
    return f"{_number(raw)}: {raw.topic()}[{raw.partition()}]@{raw.offset()}{state} at {at:.3f} ({commits}) {headers}"
