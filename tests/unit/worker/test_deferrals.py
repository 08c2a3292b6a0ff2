"""Messages that are finished by `ctx.ack()`: each once, from any thread, and only as long as they are ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.errors import NotAssigned
from elsa.testing.clock import FakeClock

from .parts import Around, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-deferrals")
    yield app
    app.stop()


@pytest.fixture
def around() -> Around:
    return Around(clock=FakeClock())


def run(app: elsa.App, around: Around, raws: list[Any], **options: Any) -> tuple[Worker, list[elsa.Context]]:
    """Have these messages deferred; the worker, and their contexts."""
    contexts: list[elsa.Context] = []

    @app.handler("t", ordering="none", **options)
    def handle(body: int, ctx: elsa.Context) -> Any:
        contexts.append(ctx)
        return elsa.DEFER

    worker = around.make(app)
    worker.put(raws)
    around.run(worker)
    return worker, contexts


def test_an_acknowledged_message_is_finished_and_forgotten(app: elsa.App, around: Around, raw: Any) -> None:
    worker, contexts = run(app, around, [raw(0, b"0"), raw(1, b"1")])
    assert worker.deferrals.offsets() == [0, 1]
    contexts[1].ack()

    assert (around.done, worker.deferrals.offsets()) == ([1], [0])
    with pytest.raises(NotAssigned, match="cannot acknowledge t\\[0\\] offset 1: it is not deferred"):
        contexts[1].ack()
    contexts[0].ack()
    assert around.done == [1, 0]


def test_attempts_and_progress_are_kept_until_then(app: elsa.App, around: Around, raw: Any) -> None:
    worker, contexts = run(app, around, [raw(0, b"0")])
    worker.kept.attempts[0] = 2
    worker.kept.progress[0] = "half"
    contexts[0].ack()

    assert (worker.kept.attempts, worker.kept.progress) == ({}, {})


def test_an_ack_before_the_answer_counts_when_the_answer_is_defer(app: elsa.App, around: Around, raw: Any) -> None:
    @app.handler("t")
    def handle(body: int, ctx: elsa.Context) -> Any:
        ctx.ack()
        with pytest.raises(NotAssigned):
            ctx.ack()
        return elsa.DEFER

    worker = around.make(app)
    worker.put([raw(0, b"0")])
    around.run(worker)

    assert around.done == [0]
    assert worker.deferrals.offsets() == []


@pytest.mark.parametrize("end", ["done", "retry"])
def test_an_early_ack_means_nothing_when_the_call_ends_in_another_way(
    app: elsa.App, around: Around, raw: Any, end: str
) -> None:
    @app.handler("t", retry=elsa.Retry(max_attempts=2, base=0))
    def handle(body: int, ctx: elsa.Context) -> Any:
        if ctx.attempt == 1:
            ctx.ack()
            if end == "retry":
                raise ValueError
            return None
        return elsa.DEFER

    worker = around.make(app)
    worker.put([raw(0, b"0")])
    around.run(worker)
    worker.unpark(around.clock.monotonic())
    around.run(worker)

    # the second attempt has to be acknowledged by itself
    assert around.done == ([0] if end == "done" else [])
    assert worker.deferrals.offsets() == ([] if end == "done" else [0])


def test_what_a_deferred_call_has_sent_is_confirmed_first(app: elsa.App, around: Around, raw: Any) -> None:
    _, contexts = run(app, around, [raw(0, b"0")])
    contexts[0].track(object())  # type: ignore[arg-type]  # nothing looks at it here
    contexts[0].ack()
    assert around.done == []

    message, _, settled, _ = around.sends[0]
    settled(message)
    assert around.done == [0]


def test_of_a_partition_that_went_nothing_can_be_acknowledged(app: elsa.App, around: Around, raw: Any) -> None:
    worker, contexts = run(app, around, [raw(0, b"0")])
    worker.close()

    with pytest.raises(NotAssigned, match="is not assigned here any more") as refused:
        contexts[0].ack()
    assert (refused.value.topic, refused.value.partition, refused.value.offset) == ("t", 0, 0)
    assert refused.value.hint == "it will be delivered again"
    assert around.done == []


def test_an_answer_that_comes_after_the_partition_went_is_dropped(app: elsa.App, around: Around, raw: Any) -> None:
    @app.handler("t")
    def handle(body: int, ctx: elsa.Context) -> Any:
        worker.close()
        return elsa.DEFER

    worker = around.make(app)
    worker.put([raw(0, b"0")])
    around.run(worker)

    assert worker.deferrals.offsets() == []
    assert around.has_ended
