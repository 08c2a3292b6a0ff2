from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from elsa.delays.ownership import LOOK_SECONDS, UNOWNED_SECONDS, Ownership
from elsa.errors import BrokerUnavailable
from elsa.message import TopicPartition
from elsa.testing.clock import FakeClock

TOPICS = ("app.delay.1", "app.delay.4")
ALL = {TopicPartition(topic, number) for topic in TOPICS for number in (0, 1)}


class World:
    """A cluster whose group owns what the test says."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.owned: set[TopicPartition] | Exception | None = set(ALL)
        self.asked = 0
        app: Any = SimpleNamespace(
            groups=SimpleNamespace(owned=self._owned),
            topics=SimpleNamespace(list=lambda internal: {**dict.fromkeys(TOPICS, 2), "other": 9}),
        )
        self.ownership = Ownership(app, "app.mover", TOPICS, self.clock)

    def _owned(self, group: str) -> set[TopicPartition] | None:
        assert group == "app.mover"
        self.asked += 1
        if isinstance(self.owned, Exception):
            raise self.owned
        return self.owned

    def looks(self, seconds: float) -> int:
        """How often something was amiss, asked ten times a second."""
        found = 0
        for _ in range(int(seconds * 10)):
            found += self.ownership.is_amiss()
            self.clock.advance(0.1)
        return found


@pytest.fixture
def world() -> World:
    return World()


def test_nobody_asks_any_more_when_all_partitions_have_an_owner(world: World) -> None:
    assert world.looks(60) == 0
    assert world.asked == 1


def test_what_nobody_owns_for_a_while_is_amiss(world: World) -> None:
    world.owned = ALL - {TopicPartition("app.delay.1", 1)}

    assert world.looks(UNOWNED_SECONDS - 0.5) == 0
    assert world.looks(3 * LOOK_SECONDS) == 1
    world.owned = ALL
    assert world.looks(60) == 0


def test_a_rebalance_begins_the_wait_anew(world: World) -> None:
    world.owned = set()
    assert world.looks(UNOWNED_SECONDS - 1) == 0
    world.owned = None
    assert world.looks(LOOK_SECONDS) == 0
    world.owned = set()
    assert world.looks(UNOWNED_SECONDS - 1) == 0


def test_a_cluster_that_does_not_answer_is_asked_again(world: World) -> None:
    world.owned = BrokerUnavailable("away")
    assert world.looks(60) == 0

    world.owned = ALL
    assert world.looks(60) == 0
    assert world.asked > 50


def test_who_joins_again_looks_again(world: World) -> None:
    world.looks(60)
    world.ownership.begin()
    world.looks(60)

    assert world.asked == 2
