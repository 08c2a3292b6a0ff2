"""What a test sees of its App's handlers: sends, outcomes, errors, time."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import elsa
from elsa.errors import DeclarationError, DecodeError, HandlerResultError, HandlerTimeout, KafkaError, NotStarted

THREE = elsa.Retry(max_attempts=3, base=10, jitter=False)


def kinds(t: Any) -> list[str]:
    return [one.outcome for one in t.outcomes]


# -- sends ---------------------------------------------------------------------------------------------


def test_a_message_is_handled_before_send_returns(app: elsa.App) -> None:
    seen = []

    @app.handler("orders")
    def bill(order: dict[str, int], ctx: elsa.Context) -> None:
        seen.append((order, ctx.key, ctx.headers, ctx.partition, ctx.offset, ctx.attempt, ctx.group, ctx.generation))

    with app.test() as t:
        delivery = t.send("orders", {"id": 1}, key="ann", headers={"a": "1"})

        assert seen == [({"id": 1}, b"ann", (("a", b"1"),), 0, 0, 1, app.name, 1)]
        assert (delivery.done(), delivery.partition, delivery.offset) == (True, 0, 0)
        assert delivery.result(0).timestamp == pytest.approx(t.clock.now(), abs=0.001)


def test_every_form_of_sending_goes_to_the_harness(app: elsa.App) -> None:
    seen: list[Any] = []

    @app.handler("orders")
    def bill(order: int) -> None:
        seen.append(order)

    with app.test() as t:
        t.send("orders", 1)
        t.send(bill, 2)
        bill.send(3)
        bill.options(key="k").send(4)
        app.send("orders", 5)
        app.produce("orders", [b"6", ("k", "7")])
        bill.send_many([8, 9])
        t.send_many("orders", [10, 11], key=str)
        asyncio.run(_asend(bill, 12))

    assert seen == list(range(1, 13))


async def _asend(handler: Any, value: Any) -> None:
    metadata = await handler.asend(value)
    assert metadata.offset == 11


def test_chained_sends_are_followed_until_all_is_quiet(app: elsa.App) -> None:
    seen = []

    @app.handler("a", group="one")
    async def first(n: int, ctx: elsa.Context) -> None:
        seen.append(f"first {n}")
        await ctx.send("b", n + 1, key=ctx.key)

    @app.handler("b", group="two")
    def second(n: int, ctx: elsa.Context) -> None:
        seen.append(f"second {n}")
        ctx.send("c.x", n + 1)

    @app.handler("^c[.]", group="three")
    def third(n: int) -> None:
        seen.append(f"third {n}")

    @app.handler(["b", "c.x"], group="all")
    def audit(n: int, ctx: elsa.Context) -> None:
        seen.append(f"audit {ctx.topic} {n}")

    with app.test() as t:
        t.send("a", 1, key="k")

        assert sorted(seen) == ["audit b 2", "audit c.x 3", "first 1", "second 2", "third 3"]
        assert [(m.topic, m.key, m.json()) for m in t.sent()] == [("a", b"k", 1), ("b", b"k", 2), ("c.x", None, 3)]
        assert [m.json() for m in t.sent("b")] == [2]
        assert t.committed("c.x", group="three") == 1


def test_messages_run_in_the_order_sent_over_topics_and_partitions(app: elsa.App) -> None:
    seen = []

    @app.handler(["a", "b"])
    def note(n: int) -> None:
        seen.append(n)

    with app.test(partitions=3) as t:
        for n in range(9):
            t.send("ab"[n % 2], n, partition=n % 3)

    assert seen == list(range(9))


def test_keys_go_to_the_partitions_that_kafkas_clients_choose(app: elsa.App) -> None:
    with app.test(partitions={"orders": 6}) as t:
        t.send("orders", 1, key="21")
        t.send("orders", 1, key="key1", partitioner="md5")
        t.send("orders", 1, partition=5)
        t.send("other", 1, key="21")

        assert [(m.topic, m.partition) for m in t.sent()] == [("orders", 0), ("orders", 3), ("orders", 5), ("other", 0)]
        with pytest.raises(elsa.errors.UnknownPartition, match="no partition 6"):
            t.send("orders", 1, partition=6)


def test_a_body_that_cannot_be_encoded_raises_as_with_a_broker(app: elsa.App) -> None:
    with app.test() as t, pytest.raises(elsa.errors.EncodeError):
        t.send("orders", object())


def test_a_message_that_a_broker_would_refuse_is_refused(app: elsa.App) -> None:
    with app.test() as t:
        assert isinstance(t.send("orders", b"x" * 2_000_000).exception(0), elsa.errors.MessageTooLarge)
        with pytest.raises(elsa.errors.MessageTooLarge):
            t.send("orders", b"x" * 11_000_000)
        assert t.sent("orders") == []


def test_callbacks_of_a_delivery_run(app: elsa.App) -> None:
    with app.test() as t:
        called: list[Any] = []
        delivery = t.send("orders", 1)
        delivery.add_done_callback(called.append)

        assert called == [delivery]


def test_a_circle_of_handlers_is_found(app: elsa.App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elsa.testing.runner.MOST_MESSAGES", 50)

    @app.handler("a")
    def again(n: int, ctx: elsa.Context) -> None:
        ctx.send("a", n + 1)

    with app.test() as t, pytest.raises(RuntimeError, match="in a circle"):
        t.send("a", 1)


# -- tasks ---------------------------------------------------------------------------------------------


def test_tasks_run_by_their_arguments_and_their_results_are_seen(app: elsa.App) -> None:
    @app.task
    def add(a: int, b: int = 2) -> int:
        return a + b

    @app.task
    async def quiet() -> None: ...

    with app.test() as t:
        add.send(1)
        quiet.send()
        add.options(key="k").send(1, b=5)

        assert t.results == [3, None, 6]
        assert [one.handler for one in t.outcomes] == [add.name, quiet.name, add.name]
        with pytest.raises(TypeError, match="sent by its arguments"):
            t.send(add, 1)


def test_an_unknown_task_is_a_dead_letter(app: elsa.App) -> None:
    @app.task(topic="calls")
    def known() -> None: ...

    with app.test() as t:
        with pytest.raises(DecodeError, match="no task is named 'nope'"):
            t.send("calls", "[[], {}]", headers={"elsa-task": "nope"})

        (letter,) = t.dead_letters("calls")
        assert (letter.reason, letter.origin) == ("unknown", "calls:0:0")
        assert kinds(t) == ["dead"]
        assert t.committed("calls") == 1


# -- failures ------------------------------------------------------------------------------------------


@pytest.fixture
def failing(app: elsa.App) -> Any:
    @app.handler("orders", group="billing", retry=THREE)
    def bill(order: dict[str, Any]) -> None:
        raise ValueError(order["id"])

    return bill


def test_a_handlers_own_error_is_raised_with_its_traceback(app: elsa.App, failing: Any) -> None:
    with app.test() as t:
        with pytest.raises(ValueError, match="7") as caught:
            t.send("orders", {"id": 7})

        assert caught.traceback[-1].name == "bill"
        assert t.outcomes[0].error is caught.value
        # where it begins, with the failed attempt beside it
        assert t.committed("orders") == 0


def test_its_message_is_retried_all_the_same(app: elsa.App, failing: Any) -> None:
    with app.test() as t:
        for seconds in (0, 10, 20):
            with pytest.raises(ValueError, match="7"):
                t.advance(seconds) if seconds else t.send("orders", {"id": 7})

        assert [(o.outcome, o.attempt, o.delay) for o in t.outcomes] == [
            ("retried", 1, 10.0),
            ("retried", 2, 20.0),
            ("dead", 3, 0.0),
        ]
        assert t.committed("orders") == 1


def test_without_raised_errors_the_policy_decides_alone(app: elsa.App, failing: Any) -> None:
    with app.test(raise_errors=False) as t:
        t.send("orders", {"id": 7}, key="k", headers=[("mine", "1")])
        assert (t.advance_to_next(), t.advance_to_next(), t.advance_to_next()) == (10.0, 20.0, 0.0)

        (letter,) = t.dead_letters("orders")
        assert letter == t.dead_letters(failing)[0] == t.dead_letters("orders.billing.dlq")[0]
        assert (letter.handler, letter.reason, letter.attempt) == (failing.name, "exhausted", 3)
        assert (letter.error_type, letter.error_message) == ("builtins.ValueError", "7")
        assert letter.traceback is not None
        assert letter.traceback.rstrip().endswith("ValueError: 7")
        assert "elsa/testing" not in letter.traceback
        assert (letter.message.topic, letter.message.key, letter.message.json()) == (
            "orders.billing.dlq",
            b"k",
            {"id": 7},
        )
        assert letter.message.headers[0] == ("mine", b"1")
        assert t.dead_letters("invoices") == []


def test_time_moves_through_everything_that_becomes_due(app: elsa.App, failing: Any) -> None:
    with app.test(raise_errors=False, now=1000) as t:
        t.send("orders", {"id": 7})
        t.advance(9.99)
        assert kinds(t) == ["retried"]

        t.advance(100)

        assert kinds(t) == ["retried", "retried", "dead"]
        assert t.clock.now() == pytest.approx(1109.99)
        # the copy was written when the last attempt failed, not when the test stopped moving the clock
        assert t.dead_letters()[0].message.timestamp == pytest.approx(1030)
        with pytest.raises(ValueError, match="does not go back"):
            t.advance(-1)


def test_others_behind_a_waiting_message_keep_their_order(app: elsa.App) -> None:
    seen = []

    @app.handler("orders", retry=THREE)
    def bill(n: int, ctx: elsa.Context) -> None:
        if n == 1 and ctx.attempt < 3:
            raise ValueError(n)
        seen.append(n)

    with app.test(raise_errors=False) as t:
        t.send_many("orders", [1, 2])
        t.send("orders", 3)
        t.advance(60)

    assert seen == [1, 2, 3]


def test_signals_are_decisions_and_no_errors(app: elsa.App) -> None:
    @app.handler("orders")
    def bill(what: str, ctx: elsa.Context) -> None:
        if what == "reject":
            raise elsa.Reject("nothing to pay")
        if what == "skip":
            raise elsa.Skip("not ours")
        if what == "later" and ctx.attempt == 1:
            raise elsa.RetryLater(5)

    with app.test() as t:
        for what in ("reject", "skip", "later"):
            t.send("orders", what)
        assert t.advance_to_next() == 5.0

        assert [(o.outcome, o.reason) for o in t.outcomes] == [
            ("dead", "rejected"),
            ("skipped", "not ours"),
            ("retried", ""),
            ("ok", ""),
        ]
        assert t.dead_letters()[0].error_message == "nothing to pay"
        assert t.committed("orders") == 3


def test_a_body_that_does_not_fit_is_raised_and_a_dead_letter(app: elsa.App) -> None:
    @app.handler("orders")
    def bill(order: dict[str, int]) -> None: ...

    with app.test() as t:
        with pytest.raises(DecodeError):
            t.send("orders", "no json")
        with pytest.raises(DecodeError, match="tombstone"):
            t.send("orders", None)

        assert [letter.reason for letter in t.dead_letters(bill)] == ["decode", "decode"]


def test_several_errors_of_one_send_raise_the_first_and_name_the_others(app: elsa.App) -> None:
    @app.handler("orders", group="one", retry=None)
    def one(_: int) -> None:
        raise ValueError("first")

    @app.handler("orders", group="two", retry=None)
    def two(_: int) -> None:
        raise KeyError("second")

    with app.test() as t:
        with pytest.raises(ValueError, match="first") as caught:
            t.send("orders", 1)

        assert caught.value.__notes__ == ["after it, another handler call failed: KeyError: 'second'"]
        assert len(t.dead_letters("orders")) == 2
        t.run_until_idle()


def test_exhausted_messages_may_be_skipped(app: elsa.App) -> None:
    @app.handler("orders", retry=None, on_exhausted="skip")
    def bill(_: int) -> None:
        raise ValueError

    with app.test(raise_errors=False) as t:
        t.send("orders", 1)

        assert [(o.outcome, o.reason) for o in t.outcomes] == [("skipped", "exhausted")]
        assert t.dead_letters() == []


def test_a_timeout_of_an_async_handler_holds(app: elsa.App) -> None:
    @app.handler("orders", retry=None, timeout=0.01)
    async def bill(_: int) -> None:
        await asyncio.Event().wait()

    with app.test() as t:
        with pytest.raises(HandlerTimeout):
            t.send("orders", 1)

        assert t.dead_letters()[0].reason == "timeout"


@pytest.mark.parametrize("raises", [True, False])
def test_an_interrupt_goes_through_whatever_was_asked(app: elsa.App, *, raises: bool) -> None:
    @app.handler("orders")
    def bill(_: int) -> None:
        raise KeyboardInterrupt

    with app.test(raise_errors=raises) as t, pytest.raises(KeyboardInterrupt):
        t.send("orders", 1)


def test_a_handler_that_ends_its_process_restarts_its_partition(app: elsa.App) -> None:
    calls = []

    @app.handler("orders")
    def bill(n: int) -> None:
        calls.append(n)
        if len(calls) == 1:
            raise SystemExit

    with app.test(raise_errors=False) as t:
        t.send_many("orders", [1, 2])
        assert kinds(t) == ["failed"]
        assert 0 < t.advance_to_next() <= 0.2

        assert calls == [1, 1, 2]
        assert t.committed("orders") == 2


# -- sends that fail -----------------------------------------------------------------------------------


def test_a_call_is_done_only_when_its_sends_are_confirmed(app: elsa.App) -> None:
    @app.handler("orders", retry=THREE)
    def bill(n: int, ctx: elsa.Context) -> int:
        ctx.send("invoices", n)
        return n

    with app.test() as t:
        t.refuse("invoices", times=1)
        with pytest.raises(KafkaError):
            t.send("orders", 1)
        assert t.committed("orders") == 0
        assert kinds(t) == ["retried"]

        t.advance_to_next()

        assert [m.json() for m in t.sent("invoices")] == [1]
        assert kinds(t) == ["retried", "ok"]
        assert t.outcomes[-1].result == 1
        assert t.committed("orders") == 1


def test_a_partition_holds_while_its_dead_letter_is_refused(app: elsa.App, failing: Any) -> None:
    with app.test(raise_errors=False) as t:
        t.refuse("orders.billing.dlq")
        t.send("orders", {"id": 1})
        t.advance(35)
        assert (t.dead_letters(), t.committed("orders")) == ([], 0)

        t.accept("orders.billing.dlq")
        t.advance(60)

        assert (len(t.dead_letters()), t.committed("orders")) == (1, 1)


def test_a_refused_dead_letter_does_not_hold_the_end_up(app: elsa.App, failing: Any) -> None:
    with app.test(raise_errors=False) as t:
        t.refuse("orders.billing.dlq")
        t.send("orders", {"id": 1})
        t.advance(35)

    # the last commit says where the next worker begins: at this message
    assert (t.dead_letters(), t.committed("orders")) == ([], 0)


# -- results by effect ---------------------------------------------------------------------------------


def test_a_deferred_message_is_finished_by_its_acknowledgement(app: elsa.App) -> None:
    held = []

    @app.handler("orders")
    def bill(_: int, ctx: elsa.Context) -> Any:
        held.append(ctx)
        return elsa.DEFER

    with app.test() as t:
        t.send_many("orders", [1, 2])
        held[1].ack()
        assert t.committed("orders") == 0
        held[0].ack()

        assert t.committed("orders") == 2
        assert kinds(t) == ["deferred", "deferred", "ok", "ok"]


def test_what_is_not_acknowledged_comes_again_after_a_restart(app: elsa.App) -> None:
    calls = []

    @app.handler("orders")
    def bill(n: int) -> Any:
        calls.append(n)
        return elsa.DEFER if len(calls) == 1 else None

    with app.test() as t:
        t.send_many("orders", [1, 2])
        t.restart()

        assert calls == [1, 2, 1]
        assert t.committed("orders") == 2


def test_threads_and_tasks_may_acknowledge_later(app: elsa.App) -> None:
    go = threading.Event()

    @app.handler("a")
    def in_thread(_: int, ctx: elsa.Context) -> Any:
        def later() -> None:
            go.wait(5)
            elsa.current().ack()

        threading.Thread(target=later).start()
        return elsa.DEFER

    tasks = set()

    @app.handler("b")
    async def in_task(_: int, ctx: elsa.Context) -> Any:
        async def later() -> None:
            await asyncio.sleep(0.01)
            ctx.ack()

        tasks.add(asyncio.create_task(later()))
        return elsa.DEFER

    with app.test() as t:
        t.send("a", 1)
        t.send("b", 1)
        with pytest.raises(TimeoutError, match=r"not acknowledged after 0.02 s: a\[0\] offset 0"):
            t.run_until_idle(timeout=0.02)
        go.set()
        t.run_until_idle(timeout=5)

        assert (t.committed("a"), t.committed("b")) == (1, 1)


def test_continue_commits_nothing_until_the_next_done(app: elsa.App) -> None:
    @app.handler("orders")
    def bill(n: int) -> Any:
        return elsa.CONTINUE if n < 3 else elsa.ACK

    with app.test() as t:
        t.send_many("orders", [1, 2])
        assert t.committed("orders") is None
        t.send("orders", 3)

        assert t.committed("orders") == 3
        assert kinds(t) == ["continued", "continued", "ok"]


# -- batches -------------------------------------------------------------------------------------------


def test_a_full_batch_runs_at_once_and_a_part_of_one_when_its_time_is_up(app: elsa.App) -> None:
    seen = []

    @app.handler("clicks", batch=3, batch_wait=2)
    def store(clicks: list[int]) -> int:
        seen.append(clicks)
        return len(clicks)

    with app.test() as t:
        t.send_many("clicks", range(5))
        assert seen == [[0, 1, 2]]
        t.advance(1)
        assert seen == [[0, 1, 2]]
        t.advance(1)

        assert seen == [[0, 1, 2], [3, 4]]
        assert t.results == [3, 2]
        assert t.committed("clicks") == 5


def test_a_part_of_a_batch_may_be_acknowledged(app: elsa.App) -> None:
    seen = []

    @app.handler("clicks", batch=4, batch_wait=0)
    async def store(clicks: list[int], ctx: elsa.Context) -> Any:
        seen.append(clicks)
        return elsa.ack_through(ctx.messages[1].offset) if len(clicks) == 4 else None

    with app.test() as t:
        t.send_many(store, range(4))

        assert seen == [[0, 1, 2, 3], [2, 3]]
        assert t.committed("clicks") == 4


def test_an_offset_outside_the_batch_is_an_error(app: elsa.App) -> None:
    @app.handler("clicks", batch=2, retry=None)
    def store(_: list[int]) -> Any:
        return elsa.ack_through(99)

    with app.test() as t, pytest.raises(HandlerResultError, match="99"):
        t.send_many("clicks", [1, 2])


def test_the_member_that_fails_is_found_and_an_undecodable_one_dies_alone(app: elsa.App) -> None:
    @app.handler("clicks", batch=4, retry=None)
    def store(clicks: list[int]) -> None:
        if 2 in clicks:
            raise ValueError("two")

    with app.test(raise_errors=False) as t:
        t.send_many("clicks", ["1", "2", "no", "3"])

        assert sorted((d.message.value, d.reason) for d in t.dead_letters()) == [
            (b"2", "exhausted"),
            (b"no", "decode"),
        ]
        assert t.committed("clicks") == 4


def test_a_batch_error_names_the_member_to_blame(app: elsa.App) -> None:
    @app.handler("clicks", batch=3, retry=None)
    def store(clicks: list[int]) -> None:
        if 2 in clicks:
            raise elsa.errors.BatchError(clicks.index(2), KeyError("two"))

    with app.test(raise_errors=False) as t:
        t.send_many("clicks", [1, 2, 3])
        t.advance(1)

        assert [(d.message.json(), d.error_type) for d in t.dead_letters()] == [(2, "builtins.KeyError")]
        assert t.committed("clicks") == 3


# -- classes, hooks, middleware ------------------------------------------------------------------------


def test_a_class_has_one_instance_for_each_partition(app: elsa.App) -> None:
    events = []

    @app.handler("views")
    class Visits:
        def setup(self, ctx: elsa.Context) -> None:
            self.count = 0
            events.append(f"setup {ctx.handler.endswith('Visits')}")

        def handle(self, view: str, ctx: elsa.Context) -> int:
            self.count += 1
            return self.count

        def teardown(self) -> None:
            events.append(f"teardown {self.count}")

    with app.test(partitions=2) as t:
        for partition in (0, 0, 1):
            t.send("views", "x", partition=partition)
        assert t.results == [1, 2, 1]

    assert events == ["setup True", "setup True", "teardown 2", "teardown 1"]


def test_an_async_class_works_the_same(app: elsa.App) -> None:
    events = []

    @app.handler("views")
    class Visits:
        async def setup(self, ctx: elsa.Context) -> None:
            await asyncio.sleep(0)
            events.append("setup")

        async def handle(self, view: str) -> str:
            return view

        async def teardown(self) -> None:
            events.append("teardown")

    with app.test() as t:
        t.send("views", "x")
        assert t.results == ["x"]

    assert events == ["setup", "teardown"]


def test_errors_of_setup_and_teardown_are_seen(app: elsa.App) -> None:
    fails = [True]

    @app.handler("views")
    class Visits:
        def setup(self, ctx: elsa.Context) -> None:
            if fails:
                fails.pop()
                raise ValueError("setup")

        def handle(self, view: str) -> None: ...

        def teardown(self) -> None:
            raise ValueError("teardown")

    with pytest.raises(ValueError, match="teardown"), app.test() as t:
        with pytest.raises(ValueError, match="setup"):
            t.send("views", "x")
        assert t.advance_to_next() > 0

        assert kinds(t) == ["ok"]


def test_hooks_run_and_may_reject_a_partition(app: elsa.App) -> None:
    events: list[Any] = []
    app.on_startup(lambda: events.append("startup"))
    app.on_shutdown(lambda: events.append("shutdown"))
    app.on_revoked(lambda partitions: events.append(sorted(map(str, partitions))))

    @app.on_assigned
    def assigned(ctx: Any) -> None:
        events.append((ctx.group, ctx.topic, ctx.partition, ctx.generation))
        if ctx.partition == 1:
            raise elsa.RejectAssignment("not here")

    @app.handler("orders", group="g")
    def bill(n: int) -> int:
        return n

    with app.test(partitions=2) as t:
        t.send("orders", 1, partition=0)
        t.send("orders", 2, partition=1)
        assert t.results == [1]

    assert events == [
        "startup",
        ("g", "orders", 0, 1),
        ("g", "orders", 1, 1),
        ["orders[0]", "orders[1]"],
        "shutdown",
    ]
    assert app.hooks["assigned"] == [assigned]


def test_a_hook_that_fails_is_seen_and_the_app_given_back(app: elsa.App) -> None:
    @app.on_startup
    def broken() -> None:
        raise ValueError("startup")

    with pytest.raises(ValueError, match="startup"), app.test():
        pass
    with app.test(raise_errors=False) as t:
        t.send("orders", 1)

    assert app.hooks["startup"] == [broken]


def test_middleware_is_around_every_call(app: elsa.App) -> None:
    @app.middleware
    def loud(call_next: Any, ctx: elsa.Context) -> Any:
        return f"{call_next()} at {ctx.offset}"

    @app.handler("orders")
    def bill(n: int) -> int:
        return n

    with app.test() as t:
        t.send("orders", 5)

        assert t.results == ["5 at 0"]


# -- standalone ----------------------------------------------------------------------------------------


def test_a_standalone_handler_gets_what_is_sent_after_it_began(app: elsa.App) -> None:
    seen: list[Any] = []

    @app.handler("orders", group=None, partitions=[2])
    def watch(n: int, ctx: elsa.Context) -> None:
        seen.append((n, ctx.partition, ctx.group, ctx.generation))

    @app.handler("^late", group=None)
    def late(n: int) -> None:
        seen.append(n)

    with app.test() as t:
        t.send("orders", 1, partition=0)
        t.send("orders", 2, partition=2)
        t.send("later", 3)
        t.restart()
        t.send("later", 4)
        assert t.committed("orders", 2) is None

    assert seen == [(2, 2, None, None), 3, 4]


def test_a_group_begins_where_its_handler_says(app: elsa.App) -> None:
    seen = []

    @app.handler("orders", start={0: "latest", 1: 1})
    def bill(n: int) -> None:
        seen.append(n)

    @app.on_startup
    def before() -> None:
        app.produce("orders", [b"1", b"2"], partition=0)
        app.produce("orders", [b"3", b"4"], partition=1)

    with app.test(partitions=2) as t:
        t.send("orders", 5, partition=0)
        assert t.committed("orders", 1) == 2

    assert seen == [4, 5]


# -- the App under test --------------------------------------------------------------------------------


def test_the_app_has_its_clients_back_afterwards(app: elsa.App) -> None:
    own = app.producer

    with app.test():
        assert app.producer is not own
        assert app.is_ready

    assert app.producer is own
    assert not app.is_ready


def test_it_is_used_inside_with(app: elsa.App) -> None:
    with app.test() as t:
        pass

    with pytest.raises(NotStarted, match="is not open"):
        t.send("a", 1)
    with pytest.raises(NotStarted, match="is not open"):
        app.test().restart()


def test_a_stopped_app_cannot_be_tested(app: elsa.App) -> None:
    app.stop()

    with pytest.raises(NotStarted), app.test():
        pass


def test_there_is_one_harness_at_a_time(app: elsa.App) -> None:
    with app.test(), pytest.raises(DeclarationError, match="under test already"), app.test():
        pass


def test_code_under_test_may_start_and_stop_its_app(app: elsa.App) -> None:
    @app.handler("orders")
    def bill(n: int) -> int:
        return n

    for _ in range(2):
        with app.test() as t:
            with app:
                assert app.wait_ready(0)
                bill.send(1).result(0)
            assert t.results == [1]
            with pytest.raises(NotStarted):
                bill.send(2)

    assert elsa.get_app(app.name) is app


def test_topics_are_those_of_the_harness(app: elsa.App) -> None:
    @app.handler("orders", partitions_count=3)
    def bill(n: int) -> None: ...

    with app.test(partitions={"invoices": 2}):
        app.topics.create("invoices", partitions=7)
        app.topics.create("invoices", exist_ok=True)

        assert app.topics.list() == {"invoices": 2, "orders": 3}
        assert (app.topics.exists("orders"), app.topics.exists("nope")) == (True, False)
        assert app.topics.partition_count("orders") == 3
        with pytest.raises(elsa.errors.UnknownTopic):
            app.topics.partition_count("nope")
        with pytest.raises(elsa.errors.TopicExists):
            app.topics.create("orders")


def test_what_needs_a_broker_says_so(app: elsa.App) -> None:
    with app.test():
        for use in (lambda: app.fetch("orders"), lambda: app.groups.lag("g"), lambda: app.topics.describe("orders")):
            with pytest.raises(elsa.errors.BrokerUnavailable, match=r"needs a broker, and app.test\(\) has none"):
                use()


def test_no_thread_and_no_event_loop_is_left(app: elsa.App) -> None:
    @app.handler("orders")
    async def bill(n: int) -> None:
        asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="left behind")

    @app.handler("invoices")
    def store(n: int) -> None: ...

    before = set(threading.enumerate())
    with app.test() as t:
        t.send("orders", 1)
        t.send("invoices", 1)
        loop = t._runner._executors._private.loop

    assert set(threading.enumerate()) == before
    assert loop.is_closed()


def test_an_async_test_may_use_it_too(app: elsa.App) -> None:
    @app.handler("orders")
    async def bill(n: int) -> int:
        await asyncio.sleep(0)
        return n

    async def test() -> None:
        with app.test() as t:
            t.send("orders", 1)
            await bill.asend(2)
            assert t.results == [1, 2]

    asyncio.run(test())


def test_a_topic_of_several_groups_has_several_commits(app: elsa.App) -> None:
    @app.handler("orders", group="one")
    def one(n: int) -> None: ...

    @app.handler("orders", group="two")
    def two(n: int) -> None: ...

    with app.test() as t:
        t.send("orders", 1)

        assert t.committed("orders", group="two") == 1
        with pytest.raises(ValueError, match="several groups, name one: one, two"):
            t.committed("orders")


@pytest.mark.parametrize("wrong", [0, {"orders": 0}])
def test_a_topic_has_at_least_one_partition(app: elsa.App, wrong: Any) -> None:
    with pytest.raises(ValueError, match="at least 1 partition"):
        app.test(partitions=wrong)


def test_what_is_no_json_says_where_it_lies(app: elsa.App) -> None:
    with app.test() as t:
        t.send("orders", b"{")
        t.send("orders", None)

        with pytest.raises(DecodeError, match=r"orders\[0\] offset 0 is no JSON"):
            t.sent("orders")[0].json()
        assert t.sent("orders")[1].json() is None


def test_a_batch_runs_as_soon_as_it_is_full() -> None:
    app = elsa.App("unit-harness-full-batch")
    seen: list[list[int]] = []

    @app.handler("numbers", batch=3, batch_wait=60)
    def take(numbers: list[int]) -> None:
        seen.append(numbers)

    with app.test() as t:
        for number in range(4):
            t.send("numbers", number)
        assert seen == [[0, 1, 2]]
        t.advance(60)

    assert seen == [[0, 1, 2], [3]]
    app.stop()
