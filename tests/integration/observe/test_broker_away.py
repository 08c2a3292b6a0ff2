"""While Kafka is away the same few lines would come thousands of times: each is written once, with a count later."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.broker import EmbeddedKafka
from elsa.kafka import probe
from elsa.kafka.config import REPEAT_SECONDS
from elsa.testing.kafka import require_embedded, unique_name
from tests.integration.engine.waiting import Seen, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Lines

pytestmark = pytest.mark.broker

#: how many lines that repeat themselves are enough to know
MANY = 60


class Tally(logging.Handler):
    """Counts what is said at all, written or not."""

    def __init__(self) -> None:
        super().__init__()
        self.said: Counter[tuple[str, Any]] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        if (limit := getattr(record, "limit", None)) is not None:
            self.said[record.name, str(limit)] += 1


@pytest.fixture
def tally() -> Iterator[Tally]:
    tally = Tally()
    logging.getLogger().addHandler(tally)
    yield tally
    logging.getLogger().removeHandler(tally)


@pytest.fixture
def own_kafka() -> Iterator[EmbeddedKafka]:
    """One node that may be killed."""
    require_embedded()
    with EmbeddedKafka(ephemeral=True) as kafka:
        yield kafka


def test_each_line_is_written_once_and_counted(
    own_kafka: EmbeddedKafka, lines: Lines, tally: Tally, tmp_path: Path
) -> None:
    topic = unique_name("away")
    probe.create_topic(own_kafka.bootstrap, topic, 1)
    app = elsa.App(unique_name("app"), brokers=own_kafka.bootstrap, runtime_dir=str(tmp_path), commit_interval=0.1)
    seen: Seen[int] = Seen()

    @app.handler(topic)
    def handle(body: int) -> None:
        seen(body)

    (node,) = own_kafka.pids
    began = time.monotonic()
    with app:
        app.send(topic, 1).result(20)
        seen.wait(1)
        own_kafka.kill_node(1)
        until(lambda: tally.said.total() >= MANY, f"{MANY} lines that repeat themselves", 120)
        own_kafka.start_node(1)
        app.send(topic, 2)
        seen.wait(2, 60)
    for handler in logging.getLogger().handlers:
        if type(handler).__name__ == "_ElsaHandler":
            handler.close()

    written = Counter((line["logger"], line["message"]) for line in lines.all if "repeated" not in line)
    assert own_kafka.pids != [node]
    # a line may come for each of several causes, and for each of them anew when its minute is over
    most = 3 * (1 + int((time.monotonic() - began) / REPEAT_SECONDS))
    assert max(written.values()) <= most
    left_out = sum(line.get("repeated", 0) for line in lines.all)
    assert left_out >= tally.said.total() - most * len(tally.said)
    assert left_out >= MANY / 2
