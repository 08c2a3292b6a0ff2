"""What calls come to: sync and async handlers give the same outcomes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa import Reject, RetryLater, Skip
from elsa.clock import SYSTEM
from elsa.context import active
from elsa.outcome import Kind

from .parts import Around

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def a_turn_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine 20 ms are over before the second message."""
    monkeypatch.setattr("elsa.worker.turns.TURN_SECONDS", 60.0)


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-delivery")
    yield app
    app.stop()


def decide(body: Any) -> Any:
    """What the handlers of these tests do with a number."""
    actions: dict[int, Any] = {
        1: RuntimeError("one"),
        2: Reject("two"),
        3: Skip("three"),
        4: RetryLater(9),
        8: SystemExit(8),
        10: MemoryError(),
    }
    if body in actions:
        raise actions[body]
    return {5: elsa.DEFER, 6: elsa.CONTINUE, 7: "value", 9: elsa.ACK}.get(body)


def run(
    app: elsa.App, raws: list[Any], *, is_async: bool, attempts: dict[int, int] | None = None, **options: Any
) -> Around:
    if is_async:

        @app.handler("t", **options)
        async def slow(body: int) -> Any:
            await asyncio.sleep(0)
            return decide(body)
    else:

        @app.handler("t", **options)
        def fast(body: int) -> Any:
            return decide(body)

    return play(app, raws, attempts=attempts)


def play(app: elsa.App, raws: list[Any], *, attempts: dict[int, int] | None = None, turns: int = 1) -> Around:
    around = Around()
    worker = around.make(app, attempts=attempts or {})
    worker.put(raws)
    around.run(worker, turns=turns)
    return around


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"2", Kind.DEAD, "rejected"),
        (b"3", Kind.SKIPPED, "three"),
        (b"6", Kind.CONTINUED, ""),
        (b"{", Kind.DEAD, "decode"),
    ],
)
def test_outcomes_that_let_the_lane_go_on(
    app: elsa.App, raw: Any, body: bytes, kind: Kind, reason: str, *, is_async: bool
) -> None:
    around = run(app, [raw(0, body), raw(1, b"0")], is_async=is_async)

    [(offset, outcome)] = around.outcomes
    assert (offset, outcome.kind, outcome.reason) == (0, kind, reason)
    assert 1 in around.done
    assert around.held == ([0] if kind is Kind.CONTINUED else [])
    assert [raw.offset() for raw, *_ in around.copies] == ([0] if kind is Kind.DEAD else [])


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("body", "kind"), [(b"1", Kind.RETRY), (b"4", Kind.RETRY), (b"8", Kind.CRASHED), (b"10", Kind.CRASHED)]
)
def test_outcomes_that_hold_the_lane(app: elsa.App, raw: Any, body: bytes, kind: Kind, *, is_async: bool) -> None:
    raws = [raw(0, b"0"), raw(1, body), raw(2, b"0"), raw(3, b"0")]
    around = run(app, raws, is_async=is_async)

    assert around.done == [0]
    assert [(offset, outcome.kind) for offset, outcome in around.outcomes] == [(1, kind)]
    assert len(around.crashes) == (1 if kind is Kind.CRASHED else 0)
    assert not around.place.waiting


@pytest.mark.parametrize("is_async", [False, True])
def test_values_and_ack_finish_the_message(app: elsa.App, raw: Any, *, is_async: bool) -> None:
    assert sorted(run(app, [raw(0, b"7"), raw(1, b"9")], is_async=is_async).done) == [0, 1]


def test_attempts_count_on_and_end_in_a_dead_letter(app: elsa.App, raw: Any) -> None:
    around = run(app, [raw(0, b"1")], is_async=False, retry=elsa.Retry(max_attempts=3), attempts={0: 2})

    [(_, outcome)] = around.outcomes
    assert (outcome.kind, outcome.reason, outcome.attempt) == (Kind.DEAD, "exhausted", 3)


@pytest.mark.parametrize(
    ("body", "level", "what", "follows"),
    [
        (b"1", "WARNING", "a handler failed", "again in 0.0 s"),
        (b"{", "WARNING", "a handler failed", "dead letter"),
        (b"2", "INFO", "a handler refused its message", "dead letter"),
        (b"4", "INFO", "a handler refused its message", "again in 9.0 s"),
    ],
)
def test_what_failed_is_logged_with_what_happens_next(
    app: elsa.App, raw: Any, caplog: pytest.LogCaptureFixture, *, body: bytes, level: str, what: str, follows: str
) -> None:
    caplog.set_level("INFO", "elsa.worker")

    run(app, [raw(7, body)], is_async=False, retry=elsa.Retry(base=0))

    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (level, what)
    facts = vars(record)
    assert (facts["offset"], facts["attempt"], facts["next"]) == (7, 1, follows)
    # a traceback belongs to what nobody asked for
    assert bool(record.exc_info) is (level == "WARNING")
    # and exporters of logs take nothing else than these as an attribute
    facts["limit"] = " ".join(facts["limit"])
    own = {name: value for name, value in facts.items() if name not in vars(logging.makeLogRecord({}))}
    assert {name: value for name, value in own.items() if not isinstance(value, str | int | float | None)} == {}


def test_on_exhausted_skip_finishes_the_message(app: elsa.App, raw: Any) -> None:
    around = run(app, [raw(0, b"1")], is_async=False, retry=None, on_exhausted="skip")

    assert around.kinds == [(0, "skipped")]
    assert around.done == [0]


def test_a_broken_when_does_not_lose_the_message(app: elsa.App, raw: Any) -> None:
    around = run(app, [raw(0, b"1")], is_async=False, retry=elsa.Retry(when=lambda *_: 1 / 0 > 0))

    assert around.kinds == [(0, "dead")]


def test_an_async_handler_is_cancelled_at_its_time_limit(app: elsa.App, raw: Any) -> None:
    @app.handler("t", timeout=0.01, retry=None)
    async def slow(body: int) -> None:
        await asyncio.sleep(60)

    [(_, outcome)] = play(app, [raw(0, b"0")]).outcomes

    assert (outcome.kind, outcome.reason) == (Kind.DEAD, "timeout")


def test_a_thread_is_told_its_deadline(app: elsa.App, raw: Any) -> None:
    deadlines: list[float | None] = []

    @app.handler("t", timeout=60)
    def fast(body: int, ctx: elsa.Context) -> None:
        deadlines.append(ctx.deadline)

    play(app, [raw(0, b"0")])

    assert deadlines[0] is not None
    assert 0 < deadlines[0] - SYSTEM.monotonic() <= 60


def test_the_context_shows_the_message_and_is_gone_afterwards(app: elsa.App, raw: Any) -> None:
    seen: list[Any] = []

    @app.handler("t")
    def fast(body: int) -> None:
        ctx = elsa.current()
        seen.append((ctx.topic, ctx.partition, ctx.offset, ctx.key, ctx.headers, ctx.generation, ctx.attempt))

    play(app, [raw(4, b"0", partition=2, key=b"k", headers=[("a", b"1")])])

    assert seen == [("t", 2, 4, b"k", (("a", b"1"),), 3, 1)]
    assert active() is None


def test_middleware_sees_the_result_and_may_change_it(app: elsa.App, raw: Any) -> None:
    seen: list[Any] = []

    @app.middleware
    def watch(call_next: Any, ctx: elsa.Context) -> Any:
        seen.append(call_next())
        return elsa.DEFER

    around = run(app, [raw(0, b"7")], is_async=False)

    assert seen == ["value"]
    assert around.kinds == [(0, "deferred")]
    assert around.done == []


def test_tasks_are_found_by_their_header(app: elsa.App, raw: Any) -> None:
    seen: list[int] = []

    @app.task(topic="t", name="double")
    def double(number: int) -> None:
        seen.append(number * 2)

    known = raw(0, b"[[4],{}]", headers=[("elsa-task", b"double")])
    unknown = raw(1, b"[[4],{}]", headers=[("elsa-task", b"triple")])
    foreign = raw(2, b"[[4],{}]")
    around = play(app, [known, unknown, foreign])

    assert seen == [8]
    assert [(offset, outcome.reason) for offset, outcome in around.outcomes] == [(1, "unknown"), (2, "unknown")]
    assert "no task is named 'triple'" in str(around.outcomes[0][1].error)


@pytest.mark.parametrize("ordering", ["key", "none"])
def test_continue_needs_one_order_for_all_messages(app: elsa.App, raw: Any, ordering: str) -> None:
    around = run(app, [raw(0, b"6")], is_async=False, ordering=ordering, retry=None)

    [(_, outcome)] = around.outcomes
    assert outcome.kind is Kind.DEAD
    assert f"returned CONTINUE with ordering='{ordering}'" in str(outcome.error)


def test_a_handler_tells_how_far_it_is_and_its_next_attempt_knows(app: elsa.App, raw: Any) -> None:
    seen: list[Any] = []

    @app.handler("t", retry=elsa.Retry(base=0))
    def export(body: int, ctx: elsa.Context) -> None:
        seen.append(ctx.progress)
        ctx.heartbeat((ctx.progress or 0) + 5)
        if body == 0 and ctx.attempt < 3:
            raise ValueError(ctx.progress)

    around = Around()
    worker = around.make(app)
    worker.put([raw(0, b"0"), raw(1, b"1")])
    for _ in range(3):
        around.run(worker)
        worker.unpark(SYSTEM.monotonic())

    assert seen == [None, 5, 10, None]
    assert worker.kept.progress == {}


def test_a_class_handlers_poison_is_given_up_before_its_setup(app: elsa.App, raw: Any) -> None:
    """Its policy is needed before there is an instance."""

    @app.handler("t")
    class Handle:
        def setup(self, ctx: elsa.Context) -> None:
            """Not yet."""

        def handle(self, body: int) -> None:
            """Runs what is left."""

    around = Around()
    worker = around.make(app, poison={0})
    worker.put([raw(0, b"0"), raw(1, b"1")])
    around.run(worker)

    assert [(one.offset(), outcome.reason) for one, outcome, _ in around.copies] == [(0, "poison")]
    assert around.done == [1]
