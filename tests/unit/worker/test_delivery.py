"""What calls come to: the loops around sync and async handlers give the same outcomes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa import Reject, RetryLater, Skip
from elsa.clock import SYSTEM
from elsa.context import active
from elsa.kafka.consumer import to_message
from elsa.observer import HandlerObserver
from elsa.outcome import Kind
from elsa.worker import batches, delivery

if TYPE_CHECKING:
    from collections.abc import Iterator


class Site:
    """The part of a PartitionWorker that the delivery needs."""

    handler_name = "h"
    group = "g"
    generation = 3
    is_stopping = False

    def __init__(self, app: elsa.App) -> None:
        self.app = app
        self.binding = app.registry.bindings()[0]
        self.closed = False
        self.held = False
        self.attempts: dict[int, int] = {}
        self.singly: list[int] = []
        self.to_message = lambda raw: to_message(raw, self.generation)
        self.router = delivery.Router(
            self.binding, lambda handler: delivery.Invoker(handler, None, HandlerObserver(), SYSTEM)
        )

    def run_singly(self, offsets: Any, attempts: int) -> None:
        self.singly = list(offsets)


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


def run(app: elsa.App, raws: list[Any], *, is_async: bool, prepare: Any = None, **options: Any) -> Any:
    if is_async:

        @app.handler("t", **options)
        async def slow(body: int) -> Any:
            await asyncio.sleep(0)
            return decide(body)
    else:

        @app.handler("t", **options)
        def fast(body: int) -> Any:
            return decide(body)

    site = Site(app)
    if prepare is not None:
        prepare(site)
    return asyncio.run(delivery.run_loop(site, raws)) if is_async else delivery.run_threads(site, raws)


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
    result = run(app, [raw(0, body), raw(1, b"0")], is_async=is_async)

    [(message, outcome)] = result.others
    assert (message.offset(), outcome.kind, outcome.reason) == (0, kind, reason)
    assert result.done == [1]
    assert len(result.durations) == 2


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("body", "kind"), [(b"1", Kind.RETRY), (b"4", Kind.RETRY), (b"8", Kind.CRASHED), (b"10", Kind.CRASHED)]
)
def test_outcomes_that_hold_the_lane(app: elsa.App, raw: Any, body: bytes, kind: Kind, *, is_async: bool) -> None:
    raws = [raw(0, b"0"), raw(1, body), raw(2, b"0"), raw(3, b"0")]
    result = run(app, raws, is_async=is_async)

    assert result.done == [0]
    assert [(m.offset(), o.kind) for m, o in result.others] == [(1, kind)]
    assert list(result.rest) == raws[2:]


@pytest.mark.parametrize("is_async", [False, True])
def test_values_and_ack_finish_the_message(app: elsa.App, raw: Any, *, is_async: bool) -> None:
    assert run(app, [raw(0, b"7"), raw(1, b"9")], is_async=is_async).done == [0, 1]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_closed_site_runs_nothing_more(app: elsa.App, raw: Any, *, is_async: bool) -> None:
    raws = [raw(0, b"0")]
    result = run(app, raws, is_async=is_async, prepare=lambda site: setattr(site, "closed", True))

    assert result.done == []
    assert list(result.rest) == raws


def test_attempts_count_on_and_end_in_a_dead_letter(app: elsa.App, raw: Any) -> None:
    result = run(
        app,
        [raw(0, b"1")],
        is_async=False,
        retry=elsa.Retry(max_attempts=3),
        prepare=lambda site: site.attempts.update({0: 2}),
    )

    [(_, outcome)] = result.others
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


def test_on_exhausted_skip_finishes_the_message(app: elsa.App, raw: Any) -> None:
    result = run(app, [raw(0, b"1")], is_async=False, retry=None, on_exhausted="skip")

    assert result.others[0][1].kind is Kind.SKIPPED


def test_a_broken_when_does_not_lose_the_message(app: elsa.App, raw: Any) -> None:
    result = run(app, [raw(0, b"1")], is_async=False, retry=elsa.Retry(when=lambda *_: 1 / 0 > 0))

    assert result.others[0][1].kind is Kind.DEAD


def test_an_async_handler_is_cancelled_at_its_time_limit(app: elsa.App, raw: Any) -> None:
    @app.handler("t", timeout=0.01, retry=None)
    async def slow(body: int) -> None:
        await asyncio.sleep(60)

    result = asyncio.run(delivery.run_loop(Site(app), [raw(0, b"0")]))

    assert (result.others[0][1].kind, result.others[0][1].reason) == (Kind.DEAD, "timeout")


def test_a_thread_is_told_its_deadline(app: elsa.App, raw: Any) -> None:
    deadlines: list[float | None] = []

    @app.handler("t", timeout=60)
    def fast(body: int, ctx: elsa.Context) -> None:
        deadlines.append(ctx.deadline)

    delivery.run_threads(Site(app), [raw(0, b"0")])

    assert deadlines[0] is not None
    assert 0 < deadlines[0] - SYSTEM.monotonic() <= 60


def test_the_context_shows_the_message_and_is_gone_afterwards(app: elsa.App, raw: Any) -> None:
    seen: list[Any] = []

    @app.handler("t")
    def fast(body: int) -> None:
        ctx = elsa.current()
        seen.append((ctx.topic, ctx.partition, ctx.offset, ctx.key, ctx.headers, ctx.generation, ctx.attempt))

    delivery.run_threads(Site(app), [raw(4, b"0", partition=2, key=b"k", headers=[("a", b"1")])])

    assert seen == [("t", 2, 4, b"k", (("a", b"1"),), 3, 1)]
    assert active() is None


def test_middleware_sees_the_result_and_may_change_it(app: elsa.App, raw: Any) -> None:
    seen: list[Any] = []

    @app.middleware
    def watch(call_next: Any, ctx: elsa.Context) -> Any:
        seen.append(call_next())
        return elsa.DEFER

    result = run(app, [raw(0, b"7")], is_async=False)

    assert seen == ["value"]
    [(message, context)] = result.deferred
    assert message.offset() == context.offset == 0


def test_tasks_are_found_by_their_header(app: elsa.App, raw: Any) -> None:
    seen: list[int] = []

    @app.task(topic="t", name="double")
    def double(number: int) -> None:
        seen.append(number * 2)

    site = Site(app)
    known = raw(0, b"[[4],{}]", headers=[("elsa-task", b"double")])
    unknown = raw(1, b"[[4],{}]", headers=[("elsa-task", b"triple")])
    foreign = raw(2, b"[[4],{}]")
    result = delivery.run_threads(site, [known, unknown, foreign])

    assert seen == [8]
    assert [(m.offset(), o.reason) for m, o in result.others] == [(1, "unknown"), (2, "unknown")]
    assert "no task is named 'triple'" in str(result.others[0][1].error)


class TestBatches:
    """One call for several messages."""

    def run(self, app: elsa.App, raws: list[Any], handle: Any, **options: Any) -> tuple[Any, Site]:
        @app.handler("t", batch=10, **options)
        def batch(bodies: list[int]) -> Any:
            return handle(bodies)

        site = Site(app)
        return batches.run_batch(site, raws), site

    def test_all_members_finish_together(self, app: elsa.App, raw: Any) -> None:
        result, _ = self.run(app, [raw(0, b"1"), raw(1, b"2")], lambda bodies: None)

        assert result.done == [0, 1]

    def test_an_undecodable_member_dies_alone(self, app: elsa.App, raw: Any) -> None:
        seen: list[Any] = []
        result, _ = self.run(app, [raw(0, b"1"), raw(1, b"{"), raw(2, b"3")], seen.append)

        assert seen == [[1, 3]]
        assert result.done == [0, 2]
        assert [(m.offset(), o.reason) for m, o in result.others] == [(1, "decode")]

    def test_a_batch_of_undecodable_members_makes_no_call(self, app: elsa.App, raw: Any) -> None:
        result, _ = self.run(app, [raw(0, b"{")], lambda bodies: pytest.fail("called"))

        assert [o.reason for _, o in result.others] == ["decode"]

    def test_ack_through_finishes_a_prefix(self, app: elsa.App, raw: Any) -> None:
        raws = [raw(13, b"1"), raw(14, b"2")]
        result, _ = self.run(app, raws, lambda bodies: elsa.ack_through(13))

        assert result.done == [13]
        assert list(result.rest) == raws[1:]

    def test_an_offset_outside_the_batch_is_an_error(self, app: elsa.App, raw: Any) -> None:
        result, _ = self.run(app, [raw(13, b"1")], lambda bodies: elsa.ack_through(99), retry=None)

        assert "ack_through(99) for offsets 13 to 13" in str(result.others[0][1].error)

    def test_a_batch_error_finishes_what_came_before_its_index(self, app: elsa.App, raw: Any) -> None:
        def fail(bodies: list[int]) -> None:
            raise elsa.BatchError(1, ValueError("second"))

        raws = [raw(0, b"1"), raw(1, b"2"), raw(2, b"3")]
        result, _ = self.run(app, raws, fail)

        assert result.done == [0]
        assert [(m.offset(), o.kind) for m, o in result.others] == [(1, Kind.RETRY)]
        assert list(result.rest) == raws[2:]

    def test_a_batch_that_is_given_up_runs_its_members_singly(self, app: elsa.App, raw: Any) -> None:
        def fail(bodies: list[int]) -> None:
            raise ValueError(bodies)

        raws = [raw(0, b"1"), raw(1, b"2")]
        result, site = self.run(app, raws, fail, retry=None)

        assert site.singly == [0, 1]
        assert result.done == []
        assert list(result.rest) == raws
