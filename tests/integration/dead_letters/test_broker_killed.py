"""`kill -9` of Kafka in the middle of a replay: it says so and ends, and the next one goes on where it was."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.broker import EmbeddedKafka
from elsa.testing.kafka import require_embedded
from tests.integration.engine.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.cli.conftest import Elsa

    from .conftest import World

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[EmbeddedKafka]:
    """One node that may be killed."""
    require_embedded()
    with EmbeddedKafka(ephemeral=True) as kafka:
        yield kafka


@pytest.fixture(scope="module")
def brokers(own_kafka: EmbeddedKafka) -> str:
    """Its address, in place of the session's Kafka."""
    return own_kafka.bootstrap


def test_a_replay_whose_broker_dies_is_said_again(run: Elsa, world: World, own_kafka: EmbeddedKafka) -> None:
    world.app.topics.create(world.retry, partitions=2)
    world.die(4_000)
    process = run.start("dlq", "replay", world.name, "--rate", "500")
    topics = world.app.topics
    until(lambda: sum(end for _, end in topics.watermarks(world.retry).values()) > 0, "something is copied")
    own_kafka.kill_node(1)
    _, err = process.communicate(timeout=120)
    own_kafka.start_node(1)

    assert process.returncode == exits.BROKER, err
    assert b"dead letters were done before" in err
    assert b"say it again: none is done twice" in err
    assert world.letters.replay().done > 0
    found = Counter(world.values(world.retry))
    assert (len(found), set(found.values())) == (4_000, {1})
