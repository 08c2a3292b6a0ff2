"""A quota that slows a client down: told every time, logged once a minute."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from elsa.config import Settings
from elsa.kafka.config import client_config
from elsa.kafka.throttle import REPEAT_SECONDS, Throttle

if TYPE_CHECKING:
    import pytest


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def event(seconds: float) -> Any:
    return SimpleNamespace(throttle_time=seconds, broker_id=1, broker_name="k:9092/1")


def test_every_event_is_told_and_one_a_minute_logged(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []
    clock: Any = Clock()
    throttle = Throttle("consumer", lambda *facts: told.append(facts), clock=clock)
    with caplog.at_level(logging.WARNING, "elsa.kafka"):
        for seconds in (0.5, 1.5, 0.0):
            throttle(event(seconds))

        assert told == [("consumer", "1", 0.5), ("consumer", "1", 1.5), ("consumer", "1", 0.0)]
        assert caplog.messages == ["a quota of Kafka slows this consumer down"]
        clock.seconds += REPEAT_SECONDS
        throttle(event(2.0))

    assert [(each.broker, each.seconds) for each in caplog.records] == [("k:9092/1", 0.5), ("k:9092/1", 2.0)]  # type: ignore[attr-defined]  # extra fields


def test_the_end_of_it_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    Throttle("producer")(event(0.0))

    assert not caplog.records


def test_every_client_listens() -> None:
    for kind in ("consumer", "producer", "admin"):
        assert isinstance(client_config(Settings(), kind)["throttle_cb"], Throttle)
