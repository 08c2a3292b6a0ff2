"""Dead letters as a worker writes them, on the session's Kafka, and an App to look after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

import elsa
from elsa import names
from elsa.kafka import probe
from elsa.testing.kafka import unique_name
from tests.integration.cli.conftest import Elsa
from tests.integration.engine.waiting import Log, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from elsa.dead_letters import DeadLetters
    from elsa.message import Message
    from elsa.testing.kafka import Topics

    MakeWorld = Callable[..., "World"]


@dataclass(slots=True)
class World:
    """A source topic, a group that has read it, and the group's dead letters."""

    app: elsa.App
    log: Log
    source: str
    group: str
    name: str

    @property
    def retry(self) -> str:
        return names.retry_topic(self.source, self.group)

    @property
    def ledger(self) -> str:
        return names.handled_topic(self.name)

    @property
    def letters(self) -> DeadLetters:
        return self.app.dead_letters(self.name)

    def die(self, count: int, *, handler: str = "shop.bill", first: int = 0, **options: Any) -> None:
        """So many more dead letters of that handler: of origins from `first` on, in the source's two partitions."""
        records = []
        for number in range(first, first + count):
            headers = [
                ("tenant", "eu"),
                ("elsa-id", f"id-{number}"),
                ("elsa-origin", f"{self.source}:{number % 2}:{number}"),
                ("elsa-handler", handler),
                ("elsa-reason", options.get("reason", "exhausted")),
                ("elsa-attempt", "5"),
                ("elsa-error-type", options.get("error", "builtins.TimeoutError")),
                ("elsa-error-message", f"the bank is away ({number})"),
                ("elsa-traceback", "Traceback (most recent call last):\n  at the bank"),
            ]
            key = options.get("key", f"k{number}")
            records.append(elsa.Record(f"body {number}", key=key, headers=headers, partition=options.get("partition")))
        self.app.produce(self.name, records)

    def read(self, topic: str) -> list[Message]:
        """What a reader of committed messages finds on a topic; nothing when there is no such topic."""
        if not self.app.topics.exists(topic):
            return []
        until(lambda: self._is_settled(topic), "no transaction is open")
        return list(self.app.fetcher.stream(topic))

    def _is_settled(self, topic: str) -> bool:
        """Whether readers see all that was committed: Kafka says so of a transaction before it has marked its end."""
        admin = AdminClient({"bootstrap.servers": self.app.settings.brokers})
        end = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # a gap in the stubs
        wanted = {TopicPartition(topic, n): end for n in range(self.app.topics.partition_count(topic))}
        levels = (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
        stable, last = (admin.list_offsets(wanted, isolation_level=level) for level in levels)
        return all(stable[where].result(20).offset == last[where].result(20).offset for where in wanted)

    def values(self, topic: str) -> list[str]:
        """The bodies on a topic, in the order of their numbers."""
        bodies = [(message.value or b"").decode() for message in self.read(topic)]
        return sorted(bodies, key=lambda body: int(body.split()[-1]))


def bodies(*numbers: int) -> list[str]:
    return [f"body {number}" for number in numbers]


@pytest.fixture
def make_world(brokers: str, topic: Topics) -> Iterator[MakeWorld]:
    """`make_world(partitions=2)`: without a retry topic yet."""
    made: list[World] = []

    def make(partitions: int = 2, **settings: Any) -> World:
        app = elsa.App(unique_name("app"), brokers=brokers, **settings)
        source = topic(2)
        name = names.dead_letter_topic(source, app.name, app.name)
        app.topics.create(name, partitions=partitions)
        made.append(World(app, Log(brokers), source, app.name, name))
        made[-1].log.commit(app.name, source, 1)
        return made[-1]

    yield make
    for one in made:
        one.app.stop(5)
    roots = tuple(f"{one.source}." for one in made)
    probe.delete_topics(brokers, [name for name in probe.list_topics(brokers) if name.startswith(roots)])
    probe.delete_groups(brokers, [one.group for one in made])


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A dead-letter topic of two partitions."""
    return make_world()


@pytest.fixture
def run(brokers: str, tmp_path: Path) -> Iterator[Elsa]:
    """`run("dlq", "list")` runs a command in this process, `run.start(...)` as a process of its own."""
    run = Elsa(brokers, tmp_path)
    yield run
    for process in run.started:
        process.kill()
        process.communicate()
