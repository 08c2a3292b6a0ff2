"""What a mover's consumer is told of besides messages: said and waited for, or the end of its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError as ClientError

from elsa.message import TopicPartition

from .cluster import NAME, Raw
from .simulation import SimulatedMover, World

if TYPE_CHECKING:
    from collections.abc import Iterator

TOPIC = f"{NAME}.delay.1"


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.end()


def told(world: World, monkeypatch: pytest.MonkeyPatch, code: int) -> tuple[SimulatedMover, Any]:
    """A mover whose consumer brings this event once, and its consumer."""
    made = world.add_mover()
    world.run(3)
    consumer = next(one for one in made.consumers if one.is_group)
    poll, events = consumer.poll, [Raw(TopicPartition(TOPIC, 0), 0, None, code)]
    monkeypatch.setattr(consumer, "poll", lambda timeout: [events.pop()] if events else poll(timeout))
    world.round()
    assert not events
    return made, consumer


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (ClientError.TOPIC_AUTHORIZATION_FAILED, f"needs Read on topic '{TOPIC}'"),
        (ClientError.UNKNOWN_TOPIC_OR_PART, f"topic '{TOPIC}' does not exist"),
        (ClientError._MAX_POLL_EXCEEDED, "was not polled in time"),
    ],
)
def test_what_may_pass_is_told_and_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int, text: str
) -> None:
    mover, consumer = told(world, monkeypatch, code)

    (message,) = (one for one in caplog.messages if one.startswith("delayed messages cannot be read: "))
    assert text in message
    assert not consumer.is_closed
    world.send(1.0)
    world.run_dry()
    world.check()
    assert mover.mover.is_ready


def test_a_signal_of_the_client_is_no_news(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told(world, monkeypatch, ClientError._NOOP)

    assert not caplog.messages


def test_a_client_that_broke_is_made_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mover, consumer = told(world, monkeypatch, ClientError._FATAL)

    assert consumer.is_closed
    world.send(1.0)
    world.run_dry()
    world.check()
    assert mover.mover.is_ready


def test_a_quota_is_told_to_the_observer(world: World) -> None:
    mover = world.add_mover()
    world.run(3)

    assert mover.throttled == dict.fromkeys(("consumer", "producer"), world.app.observer.throttled)
