"""One partition of one handler: its lanes, its turns, and what becomes of it at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.errors import NotAssigned
from elsa.testing.clock import FakeClock
from elsa.worker.turns import LaneTurn, SliceTurn

from .parts import Around, Place

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-partition")
    yield app
    app.stop()


@pytest.fixture
def around() -> Around:
    return Around(clock=FakeClock())


def test_a_worker_that_ends_hurries_the_copies_it_waits_for(app: elsa.App, around: Around, raw: Any) -> None:
    @app.handler("t", retry=None)
    def handle(body: bytes) -> None:
        raise ValueError

    worker = around.make(app)
    worker.put([raw(0)])
    around.run(worker)
    worker.close()
    assert around.hurried == [worker]
    assert not around.has_ended

    worker.conclusion.give_up_settling()
    assert around.has_ended


def test_a_worker_that_waits_for_no_copy_hurries_nothing(app: elsa.App, around: Around, raw: Any) -> None:
    @app.handler("t")
    def handle(body: bytes) -> None:
        """It is fine."""

    worker = around.make(app)
    worker.put([raw(0)])
    around.run(worker)
    worker.close()

    assert around.hurried == []
    assert around.has_ended


def test_one_lane_runs_one_turn_at_a_time(app: elsa.App, around: Around, raw: Any) -> None:
    @app.handler("t")
    def handle(body: bytes) -> None:
        """It is fine."""

    worker = around.make(app)
    worker.put([raw(0), raw(1)])
    turn = worker.begin(around.place)

    assert isinstance(turn, SliceTurn)
    assert worker.begin(around.place) is None
    assert not worker.is_ready(around.place)
    around.play(worker, turn)
    assert around.done == [0, 1]


def test_different_keys_run_at_the_same_time_and_the_same_key_waits(app: elsa.App, around: Around, raw: Any) -> None:
    @app.handler("t", ordering="key")
    def handle(body: bytes) -> None:
        """It is fine."""

    worker = around.make(app)
    worker.put([raw(0, key=b"a"), raw(1, key=b"a"), raw(2, key=b"b")])
    first, second = worker.begin(around.place), worker.begin(around.place)

    assert isinstance(first, LaneTurn)
    assert isinstance(second, LaneTurn)
    assert worker.begin(around.place) is None
    around.play(worker, second)
    assert around.done == [2]
    around.play(worker, first)
    assert around.done == [2, 0, 1]


def test_messages_without_a_key_wait_for_nobody(app: elsa.App, around: Around, raw: Any) -> None:
    @app.handler("t", ordering="key")
    def handle(body: bytes) -> None:
        """It is fine."""

    worker = around.make(app)
    worker.put([raw(offset) for offset in range(3)])

    assert all(worker.begin(around.place) for _ in range(3))


def test_a_retry_holds_its_key_and_nothing_else(app: elsa.App, around: Around, raw: Any) -> None:
    seen: list[int] = []

    @app.handler("t", ordering="key", retry=elsa.Retry(base=5, jitter=False))
    def handle(body: int, ctx: elsa.Context) -> None:
        seen.append(body)
        if body == 0 and ctx.attempt == 1:
            raise ValueError

    worker = around.make(app)
    worker.put([raw(n, b"%d" % n, key=key) for n, key in enumerate([b"a", b"b", b"a", None, b"b"])])
    around.run(worker)

    assert seen == [0, 1, 3, 4]
    assert (worker.parked, worker.kept.attempts) == (1, {0: 1})
    now = around.clock.monotonic()
    assert around.dues == [now + 5]
    assert worker.unpark(now + 4) is None
    assert worker.unpark(now + 5) is None
    around.run(worker)
    assert seen == [0, 1, 3, 4, 0, 2]
    assert (sorted(around.done), worker.parked, worker.kept.attempts) == ([0, 1, 2, 3, 4], 0, {})


def test_one_timer_serves_all_waiting_retries(app: elsa.App, around: Around, raw: Any) -> None:
    delays = iter([9, 5, 7])

    @app.handler("t", ordering="none")
    def handle(body: int, ctx: elsa.Context) -> None:
        if ctx.attempt == 1:
            raise elsa.RetryLater(next(delays))

    worker = around.make(app)
    worker.put([raw(n, b"%d" % n) for n in range(3)])
    around.run(worker)
    now = around.clock.monotonic()

    assert around.dues == [now + 9, now + 5]
    assert worker.unpark(now + 5) == now + 7
    assert worker.unpark(now + 6) is None
    assert worker.unpark(now + 7) == now + 9
    assert worker.unpark(now + 9) is None
    around.run(worker)
    assert sorted(around.done) == [0, 1, 2]


def test_a_send_refused_late_repeats_its_call_next_to_no_other_of_its_key(
    app: elsa.App, around: Around, raw: Any
) -> None:
    seen: list[int] = []

    class Send:
        """Will be refused."""

    @app.handler("t", ordering="key", retry=elsa.Retry(base=0))
    def handle(body: int, ctx: elsa.Context) -> None:
        seen.append(body)
        if seen.count(0) == 1 and body == 0:
            ctx.track(Send())  # type: ignore[arg-type]  # nothing looks at it here

    worker = around.make(app)
    worker.put([raw(0, b"0", key=b"a"), raw(1, b"1", key=b"a"), raw(2, b"2", key=b"a")])
    around.run(worker, turns=1)
    assert seen == [0, 1, 2]
    worker.put([raw(3, b"3", key=b"a"), raw(4, b"4", key=b"a")])
    running = worker.begin(around.place)
    assert running is not None
    message, context, _, failed = around.sends[0]
    failed(message, OSError("refused"), context.attempt)
    worker.unpark(around.clock.monotonic())

    assert worker.begin(around.place) is None
    around.play(worker, running)
    around.run(worker)
    assert seen == [0, 1, 2, 3, 0, 4]
    assert sorted(around.done) == [0, 1, 2, 3, 4]


def test_a_deferred_message_frees_its_key(app: elsa.App, around: Around, raw: Any) -> None:
    held: list[elsa.Context] = []

    @app.handler("t", ordering="key")
    def handle(body: int, ctx: elsa.Context) -> Any:
        held.append(ctx)
        return elsa.DEFER if body == 0 else None

    worker = around.make(app)
    worker.put([raw(0, b"0", key=b"a"), raw(1, b"1", key=b"a")])
    around.run(worker)
    assert around.done == [1]

    held[0].ack()
    assert around.done == [1, 0]
    with pytest.raises(NotAssigned, match="is not deferred"):
        held[0].ack()


def test_an_acknowledgement_of_several_is_all_or_nothing(app: elsa.App, around: Around, raw: Any) -> None:
    held: list[elsa.Context] = []

    @app.handler("t")
    def handle(body: int, ctx: elsa.Context) -> Any:
        held.append(ctx)
        return elsa.DEFER if body == 0 else None

    worker = around.make(app)
    worker.put([raw(0, b"0"), raw(1, b"1")])
    around.run(worker)
    with pytest.raises(NotAssigned):
        held[0].ack(held[0].message, held[1].message)
    assert around.done == [1]

    held[0].ack()
    assert around.done == [1, 0]


def test_what_a_turn_has_finished_can_be_harvested_before_its_end(app: elsa.App, around: Around, raw: Any) -> None:
    found: list[list[int]] = []

    @app.handler("t", ordering="none")
    def handle(body: int) -> None:
        if body == 2:
            found.append(worker.underway.harvest())

    worker = around.make(app)
    worker.put([raw(n, b"%d" % n) for n in range(4)])
    around.run(worker, turns=1)

    assert found == [[0, 1]]
    assert around.done == [2, 3]


def test_held_lanes_run_nothing_new_and_go_on(app: elsa.App, around: Around, raw: Any) -> None:
    seen: list[int] = []

    @app.handler("t", ordering="key")
    def handle(body: int) -> None:
        seen.append(body)
        if body == 1:
            worker.hold()

    worker = around.make(app)
    worker.put([raw(n, b"%d" % n, key=b"a") for n in range(4)])
    around.run(worker)
    assert seen == [0, 1]

    worker.let_go()
    around.run(worker)
    assert seen == [0, 1, 2, 3]


def test_a_closed_worker_starts_nothing_and_reports_what_ran(app: elsa.App, around: Around, raw: Any) -> None:
    seen: list[int] = []

    @app.handler("t", ordering="none")
    def handle(body: int) -> None:
        seen.append(body)
        if body == 1:
            worker.close()

    worker = around.make(app)
    worker.put([raw(n, b"%d" % n) for n in range(4)])
    waiting = worker.begin(around.place)
    assert waiting is not None
    around.run(worker)
    assert not around.has_ended
    around.play(worker, waiting)

    assert seen == [1]
    assert around.done == [1]
    assert around.has_ended


def test_a_crash_ends_the_worker_and_names_the_message(app: elsa.App, around: Around, raw: Any) -> None:
    @app.handler("t", ordering="key")
    def handle(body: int) -> None:
        if body == 2:
            raise SystemExit

    worker = around.make(app)
    worker.put([raw(n, b"%d" % n) for n in range(4)])
    around.run(worker)

    assert around.done == [0, 1]
    assert [mail.offset for mail in around.crashes] == [2]
    assert worker.closed
    assert around.has_ended


class TestLifecycle:
    """`setup` before the first message, `teardown` after the last, both where the messages run."""

    def test_setup_runs_alone_before_the_first_message(self, app: elsa.App, around: Around, raw: Any) -> None:
        steps: list[str] = []

        @app.handler("t", ordering="none")
        class Handler:
            def setup(self, ctx: elsa.Context) -> None:
                assert worker.begin(around.place) is None
                steps.append(f"setup {ctx.partition}")

            def handle(self, body: int) -> None:
                steps.append(f"handle {body}")

            def teardown(self) -> None:
                steps.append("teardown")

        worker = around.make(app)
        worker.put([raw(0, b"0"), raw(1, b"1")])
        around.run(worker)
        worker.close()
        around.run(worker)

        assert steps == ["setup 0", "handle 0", "handle 1", "teardown"]
        assert around.has_ended

    def test_teardown_waits_for_the_last_call(self, app: elsa.App, around: Around, raw: Any) -> None:
        steps: list[str] = []

        @app.handler("t", ordering="none")
        class Handler:
            def handle(self, body: int) -> None:
                steps.append(f"handle {body}")

            def teardown(self) -> None:
                steps.append("teardown")

        worker = around.make(app)
        worker.put([raw(0, b"0")])
        around.run(worker)
        worker.put([raw(1, b"1"), raw(2, b"2")])
        one, two = worker.begin(around.place), worker.begin(around.place)
        assert one is not None
        assert two is not None
        worker.close()
        around.play(worker, one)
        around.run(worker)
        assert steps == ["handle 0"]
        around.play(worker, two)
        around.run(worker)

        assert steps == ["handle 0", "teardown"]

    def test_without_a_teardown_it_ends_at_once(self, app: elsa.App, around: Around, raw: Any) -> None:
        @app.handler("t")
        class Handler:
            def handle(self, body: int) -> None:
                """It is fine."""

        worker = around.make(app)
        worker.put([raw(0, b"0")])
        around.run(worker)
        worker.close()

        assert not around.place.waiting
        assert around.has_ended

    @pytest.mark.parametrize("step", ["__init__", "setup"])
    def test_a_failing_setup_is_a_crash_without_a_message(
        self, app: elsa.App, around: Around, raw: Any, step: str
    ) -> None:
        def fail(*_: Any) -> None:
            raise ValueError(step)

        app.handler("t")(type("Broken", (), {step: fail, "handle": lambda self: None, "teardown": pytest.fail}))
        worker = around.make(app)
        worker.put([raw(0)])
        around.run(worker)

        assert [(str(mail.error), mail.offset) for mail in around.crashes] == [(step, None)]
        assert around.has_ended


class TestTasksOfSeveralKinds:
    """Tasks of one topic that run in different places."""

    def make(self, app: elsa.App, around: Around, **options: Any) -> tuple[list[str], Any]:
        seen: list[str] = []

        @app.task(topic="t", name="one", **options)
        def one(n: int) -> None:
            seen.append(f"one {n}")

        @app.task(topic="t", name="two", **options)
        def two(n: int) -> None:
            seen.append(f"two {n}")

        around.places = {"two": Place()}
        return seen, around.make(app)

    def test_one_lane_goes_from_place_to_place(self, app: elsa.App, around: Around, raw: Any) -> None:
        seen, worker = self.make(app, around)
        names = ["one", "one", "two", "one"]
        worker.put([raw(n, b"[[%d],{}]" % n, headers=[("elsa-task", name.encode())]) for n, name in enumerate(names)])
        for _ in range(3):
            around.run(worker)
            around.run(worker, around.places["two"])

        assert seen == ["one 0", "one 1", "two 2", "one 3"]

    def test_by_key_each_place_gets_its_own_and_the_keys_keep_their_order(
        self, app: elsa.App, around: Around, raw: Any
    ) -> None:
        seen, worker = self.make(app, around, ordering="key")
        calls = [("one", b"a"), ("two", b"a"), ("two", b"b"), ("one", b"c")]
        worker.put(
            [
                raw(n, b"[[%d],{}]" % n, key=key, headers=[("elsa-task", name.encode())])
                for n, (name, key) in enumerate(calls)
            ]
        )
        around.run(worker, around.places["two"])
        assert seen == ["two 2"]
        around.run(worker)
        assert seen == ["two 2", "one 0", "one 3"]
        around.run(worker, around.places["two"])
        assert seen == ["two 2", "one 0", "one 3", "two 1"]


class TestRate:
    """No more than the rate starts, and nobody waits in a thread for it."""

    def test_starts_are_spaced_evenly(self, app: elsa.App, around: Around, raw: Any) -> None:
        seen: list[float] = []

        @app.handler("t", rate="10/s", ordering="none")
        def handle(body: int) -> None:
            seen.append(round(around.clock.monotonic() - begin, 3))

        begin = around.clock.monotonic()
        worker = around.make(app)
        worker.put([raw(n, b"%d" % n) for n in range(4)])
        for _ in range(5):
            around.run(worker)
            assert isinstance(around.clock, FakeClock)
            around.clock.advance(0.1)
            worker.unpark(around.clock.monotonic())

        assert seen == [0.0, 0.1, 0.2, 0.3]

    @pytest.mark.parametrize("options", [{}, {"ordering": "key"}, {"batch": 1}], ids=str)
    def test_what_needs_no_call_uses_none_of_it(
        self, app: elsa.App, around: Around, raw: Any, options: dict[str, Any]
    ) -> None:
        seen: list[Any] = []
        expires = [("elsa-expires-at", b"1.0")]

        def handle(body: Any) -> None:
            seen.append(body)

        handle.__annotations__["body"] = list[int] if "batch" in options else int
        app.handler("t", rate="2/s", **options)(handle)
        worker = around.make(app)
        worker.put([*(raw(n, b"%d" % n, headers=expires) for n in range(4)), raw(4, b"4")])
        around.run(worker)

        assert seen == [[4] if "batch" in options else 4]

    def test_two_partitions_share_it(self, app: elsa.App, around: Around, raw: Any) -> None:
        @app.handler("t", rate=2)
        def handle(body: int) -> None:
            """It is fine."""

        from elsa.worker.pace import Paces

        paces = Paces(around.clock)
        pace = paces.of(app.registry.bindings()[0].first)
        assert pace is not None
        now = around.clock.monotonic()
        assert [pace.reserve(1)[0] - now for _ in range(3)] == [0.0, 0.5, 1.0]
        pace.share("t", 1, 4)
        assert pace.here == 0.5
