"""What a scheduler does when it cannot send: others go on, and it says why."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.errors import BrokerUnavailable
from elsa.observer import Observer, ScheduleObserver
from elsa.testing.kafka import unique_name

from .simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Iterator


class Told(ScheduleObserver):
    def __init__(self) -> None:
        self.fires = 0
        self.left_out = 0
        self.waiting = 0
        self.worst = 0.0

    def fired(self, delays: Any) -> None:
        self.fires += len(delays)
        self.worst = max(self.worst, *delays)

    def missed(self, fires: int) -> None:
        self.left_out += fires

    def held(self, fires: int) -> None:
        self.waiting = fires


class Watching(Observer):
    def __init__(self) -> None:
        self.told: dict[str, Told] = {}

    def schedule(self, name: str) -> Told:
        return self.told.setdefault(name, Told())


@pytest.fixture
def observer() -> Watching:
    return Watching()


@pytest.fixture
def app(observer: Watching) -> Iterator[elsa.App]:
    made = elsa.App(unique_name("session"), create_topics=False, observer=observer)
    for name in ("a", "b"):
        made.every(1, name=name, misfire_limit=60)(made.task(name=f"task-{name}", topic=name)(lambda: None))
    yield made
    made.stop()


def go(simulation: Simulation, steps: int, seconds: float = 0.5) -> list[str]:
    """One owner makes so many steps; what was sent."""
    before = len(simulation.world.log)
    simulation.run([(0, seconds)] * steps)
    return simulation.world.log[before:]


def names(sent: list[str]) -> set[str]:
    return {one.partition(":")[0] for one in sent}


def test_calls_of_a_missing_topic_wait_and_the_others_go_on(
    app: elsa.App, observer: Watching, caplog: pytest.LogCaptureFixture
) -> None:
    simulation = Simulation(app, [], count=1)
    simulation.world.missing.add("a")

    assert names(go(simulation, 20)) == {"b"}
    assert observer.told["a"].waiting > 0
    assert "the calls of schedule a are not sent, they wait up to its misfire limit: topic 'a' does not" in caplog.text
    simulation.world.missing.clear()
    late = go(simulation, 20)

    assert names(late) == {"a", "b"}
    assert observer.told["a"].waiting == 0
    assert observer.told["a"].fires == observer.told["b"].fires
    assert observer.told["a"].worst > 5


def test_a_topic_that_refuses_holds_nobody_else_up(
    app: elsa.App, observer: Watching, caplog: pytest.LogCaptureFixture
) -> None:
    simulation = Simulation(app, [], count=1)
    simulation.world.refusing.add("a")

    assert names(go(simulation, 40)) == {"b"}
    assert "they wait up to its misfire limit: not for you" in caplog.text
    simulation.world.refusing.clear()

    assert names(go(simulation, 20)) == {"a", "b"}
    assert len(set(simulation.world.log)) == len(simulation.world.log)


def test_what_waits_longer_than_the_limit_is_left_out(
    app: elsa.App, observer: Watching, caplog: pytest.LogCaptureFixture
) -> None:
    simulation = Simulation(app, [], count=1)
    go(simulation, 10)
    simulation.world.time += 100
    go(simulation, 3)

    assert 39 <= observer.told["a"].left_out <= 41
    assert "fire times of schedule a are left out: they are later than its misfire limit of 60 s" in caplog.text


def test_metadata_of_somebody_else_is_told_and_replaced(app: elsa.App, caplog: pytest.LogCaptureFixture) -> None:
    simulation = Simulation(app, [], count=1)
    simulation.world.committed = dict.fromkeys(range(8), "not ours")
    sent = go(simulation, 10)

    assert "cannot be read, they begin anew" in caplog.text
    assert names(sent) == {"a", "b"}
    # the world's time begins at 13:46:40
    assert min(sent) > "a:1970-01-12T13:46:40Z"


@pytest.mark.parametrize(("partitions", "text"), [(0, "does not exist"), (3, "has 3 partitions, not 8")])
def test_without_its_topic_nothing_fires_and_it_says_what_to_do(
    app: elsa.App, caplog: pytest.LogCaptureFixture, partitions: int, text: str
) -> None:
    simulation = Simulation(app, [], count=1)
    simulation.world.partitions = partitions
    with caplog.at_level(logging.WARNING):
        assert go(simulation, 10) == []

    assert f"periodic tasks do not fire: topic {app.name}.schedules {text}" in caplog.text
    simulation.world.partitions = 8
    assert names(go(simulation, 20)) == {"a", "b"}


def test_what_a_clock_that_was_ahead_has_decided_is_told_and_not_fired_again(
    app: elsa.App, caplog: pytest.LogCaptureFixture
) -> None:
    simulation = Simulation(app, [], count=2)
    simulation.world.time += 3600
    sent = go(simulation, 10)
    simulation.world.time -= 3600
    # the other one has a right clock, and takes over
    simulation.owners[0].evict()
    simulation.run([(1, 0.5)] * 20)

    assert simulation.world.log == sent
    assert "schedule a does not fire before 1970-01-12T14:46:4" in caplog.text
    assert f"elsa groups delete {app.name}.scheduler" in caplog.records[-1].hint  # type: ignore[attr-defined]
    simulation.run([(1, 60.0)] * 61)

    assert len(set(simulation.world.log)) == len(simulation.world.log) > len(sent)


def test_a_stop_does_not_wait_for_a_broker_that_is_away(app: elsa.App) -> None:
    simulation = Simulation(app, [], count=1)
    (owner,) = simulation.owners
    asked = []

    def is_away(call: str, _: Any) -> None:
        if call == "init":
            asked.append(call)
            if len(asked) == 3:
                owner.scheduler.stop()  # type: ignore[union-attr]  # it is in its first step
            raise BrokerUnavailable("no answer")

    simulation.world.at = is_away
    owner.step()

    assert asked == ["init"] * 3
    assert owner.scheduler is not None
    assert not owner.scheduler.is_ready
