"""What a batch comes to: every member gets its own outcome, and none is lost with another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.clock import SYSTEM
from elsa.errors import BatchError
from elsa.kafka.consumer import to_message
from elsa.observer import HandlerObserver
from elsa.outcome import Kind
from elsa.worker import batches, delivery

if TYPE_CHECKING:
    from collections.abc import Iterator


class Site:
    """The part of a PartitionWorker that a batch needs."""

    handler_name = "h"
    group = "g"
    generation = 3
    is_stopping = False
    closed = False

    def __init__(self, app: elsa.App) -> None:
        self.app = app
        self.binding = app.registry.bindings()[0]
        self.attempts: dict[int, int] = {}
        self.to_message = lambda raw: to_message(raw, self.generation)
        self.router = delivery.Router(
            self.binding, lambda handler: delivery.Invoker(handler, None, HandlerObserver(), SYSTEM)
        )

    def run_singly(self, offsets: Any, attempts: int) -> None:
        raise AssertionError((offsets, attempts))


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-batches")
    yield app
    app.stop()


@pytest.mark.parametrize("error", [elsa.Skip("not wanted"), RuntimeError("broken")])
def test_a_member_that_is_skipped_leaves_those_behind_it_to_run(app: elsa.App, raw: Any, error: Exception) -> None:
    @app.handler("t", batch=10, on_exhausted="skip", retry=elsa.Retry(max_attempts=1))
    def store(bodies: list[int]) -> None:
        raise BatchError(1, error)

    raws = [raw(offset, b"0") for offset in range(4)]
    result = batches.run_batch(Site(app), raws)

    assert result.done == [0]
    assert [(message.offset(), outcome.kind) for message, outcome in result.others] == [(1, Kind.SKIPPED)]
    assert list(result.rest) == raws[2:]
