"""The mover's own part: when it begins, what it waits for, how it ends, under which name it goes on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from elsa.delays.mover import LOOK_SECONDS
from elsa.errors import AuthorizationFailed
from elsa.kafka.admin import Writable

from .cluster import NAME
from .simulation import World

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.end()


def test_it_begins_when_somebody_has_delayed_something(world: World) -> None:
    shortest = f"{NAME}.delay.1"
    count = world.broker.topics.pop(shortest)
    mover = world.add_mover().mover
    assert mover.step() == LOOK_SECONDS
    assert not mover.is_ready

    world.broker.topics[shortest] = count
    world.run(3)
    assert mover.is_ready
    assert mover.waiting == 0
    world.send(2.0)
    world.run(0.5)
    assert mover.waiting == 1


def test_what_is_missing_beside_it_is_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{NAME}.delay.dlq"
    count = world.broker.topics.pop(name)
    monkeypatch.setattr("elsa.delays.topics.create", lambda _: world.broker.topics.update({name: count}))
    mover = world.add_mover().mover
    assert mover.step() == LOOK_SECONDS

    world.run(3)
    assert mover.is_ready


def test_where_topics_are_not_made_it_says_what_is_missing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.app.configure(create_topics=False)
    del world.broker.topics[f"{NAME}.cancelled"]
    mover = world.add_mover().mover

    assert mover.step() == LOOK_SECONDS
    assert f"topics of delayed messages are missing or forbidden, nothing is moved: {NAME}.cancelled" in caplog.messages


def test_topics_that_may_not_be_looked_at_are_told(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(topics: Iterable[str]) -> dict[str, Writable]:
        return {topic: Writable(refusal=AuthorizationFailed("not yours")) for topic in topics}

    monkeypatch.setattr(world.broker, "writable", refuse)
    mover = world.add_mover().mover
    with caplog.at_level(logging.INFO):
        assert mover.step() == LOOK_SECONDS
    assert "whether there are delayed messages may not be looked at: not yours" in caplog.messages


def test_a_broker_that_is_away_is_no_news_here(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.broker.away_until = world.clock.monotonic() + 5
    mover = world.add_mover().mover
    with caplog.at_level(logging.INFO):
        assert mover.step() == LOOK_SECONDS
    assert caplog.messages == []


def test_one_that_was_fenced_goes_on_under_another_name(world: World, caplog: pytest.LogCaptureFixture) -> None:
    first = world.add_mover("same")
    world.run(3)
    second = world.add_mover("same")
    world.run(30, 0.1)

    assert first.mover.is_ready
    assert second.mover.is_ready
    names = {member.instance for member in world.broker.members}
    assert len(names) == 2
    assert "same-mover" in names
    assert any("uses the same group.instance.id" in message for message in caplog.messages)
    world.send(1.0)
    world.run_dry()
    world.check()


def test_its_thread_ends_when_it_is_told_to(world: World) -> None:
    world.broker.topics.clear()
    mover = world.add_mover().mover
    # before the start, too
    assert mover.join(0)
    mover.start()
    mover.stop()
    mover.stop()

    assert mover.join(10)
