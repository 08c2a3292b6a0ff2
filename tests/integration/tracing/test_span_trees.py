"""What a person sees in a tracing tool: the spans of messages on a real Kafka, drawn as trees.

A send ends with its delivery report; a call is below the send whose message it handles, each attempt has a span of its
own, and what was sent because of a call is below that call.
"""

from __future__ import annotations

import logging
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace

import elsa
from elsa import headers as names
from elsa.errors import BufferFull, MessageTooLarge
from tests.integration.engine.waiting import Log, Seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics
    from tests.integration.engine.jobs import Jobs

    from .trees import Recorded

pytestmark = pytest.mark.broker


def tree(text: str) -> str:
    return textwrap.dedent(text).strip()


def place(span: Any) -> str:
    return f"{span.context.trace_id:032x}-{span.context.span_id:016x}"


def traces(message: elsa.Message) -> list[str]:
    """Of all its trace headers, which must be one."""
    return [(value or b"").decode()[3:-3] for name, value in message.headers if name == "traceparent"]


def test_a_send_its_call_and_what_the_call_sends(recorded: Recorded, app: elsa.App, topic: Topics) -> None:
    orders, invoices = topic(1), topic(1)

    @app.handler(orders)
    def bill(order: int, ctx: elsa.Context) -> None:
        ctx.send(invoices, order)

    @app.handler(invoices)
    async def post(invoice: int) -> None: ...

    with app, recorded.program()("checkout"):
        bill.send(7)
        drawn = recorded.tree(4, {orders: "orders", invoices: "invoices"})
    drawn = recorded.tree(5, {orders: "orders", invoices: "invoices"})

    assert drawn == tree(
        """
        checkout
          send orders
            process orders (attempt 1: ok)
              send invoices
                process invoices (attempt 1: ok)
        """
    )
    send, process = recorded.named(f"send {orders}")[0], recorded.named(f"process {orders}")[0]
    assert send.attributes["messaging.kafka.offset"] == process.attributes["messaging.kafka.offset"] == 0
    assert process.attributes["code.function.name"].endswith("<locals>.bill")
    assert process.attributes["elsa.queue_wait_ms"] >= 0
    assert len(process.attributes["messaging.kafka.cluster.id"]) == 22
    assert send.attributes["messaging.kafka.cluster.id"] == process.attributes["messaging.kafka.cluster.id"]


def test_attempts_in_memory_are_siblings(recorded: Recorded, app: elsa.App, topic: Topics) -> None:
    orders = topic(1)

    @app.handler(orders, retry=elsa.Retry(max_attempts=3, base=0.1))
    def bill(order: int, ctx: elsa.Context) -> None:
        if ctx.attempt < 3:
            raise TimeoutError

    with app:
        bill.send(7)
        drawn = recorded.tree(4, {orders: "orders"})

    assert drawn == tree(
        """
        send orders
          process orders (attempt 1: retried, error TimeoutError, elsa.retry)
          process orders (attempt 2: retried, error TimeoutError, elsa.retry)
          process orders (attempt 3: ok)
        """
    )
    first = recorded.named(f"process {orders}")[0]
    assert 0 < {event.name: event for event in first.events}["elsa.retry"].attributes["elsa.delay"] < 1


def test_a_retry_topic_continues_the_trace_and_links_to_its_beginning(
    recorded: Recorded, app: elsa.App, topic: Topics
) -> None:
    orders = topic(1)

    @app.handler(orders, retry=elsa.Retry(max_attempts=3, base=0.5, jitter=False, where="topic"))
    def bill(order: int, ctx: elsa.Context) -> None:
        if ctx.attempt < 3:
            raise TimeoutError

    with app:
        bill.send(7)
        drawn = recorded.tree(6, {orders: "orders", app.name: "shop"})

    assert drawn == tree(
        """
        send orders
          process orders (attempt 1: moved, error TimeoutError, elsa.retry)
            send orders.shop.retry
              process orders (attempt 2: moved, error TimeoutError, elsa.retry, -> send orders)
                send orders.shop.retry
                  process orders (attempt 3: ok, -> send orders)
        """
    )


def test_a_dead_letter_continues_the_trace_and_its_replay_begins_another(
    recorded: Recorded, app: elsa.App, topic: Topics, log: Log
) -> None:
    orders = topic(1)
    seen: Seen[int] = Seen()

    @app.handler(orders, retry=elsa.Retry(max_attempts=1))
    def bill(order: int, ctx: elsa.Context) -> None:
        seen(order)
        if len(seen) == 1:
            raise TimeoutError

    with app:
        bill.send(7)
        log.wait_for(f"{orders}.{app.name}.dlq", 1)
        assert app.dead_letters(orders, group=app.name).replay().done == 1
        drawn = recorded.tree(5, {orders: "orders", app.name: "shop"})

    assert drawn == tree(
        """
        send orders
          process orders (attempt 1: dead, exhausted, error TimeoutError)
            send orders.shop.dlq
        send orders.shop.retry (-> send orders.shop.dlq)
          process orders (attempt 1: ok, -> send orders)
        """
    )


def test_a_batch_is_a_trace_of_its_own_with_links_to_its_messages(
    recorded: Recorded, app: elsa.App, topic: Topics
) -> None:
    orders, invoices = topic(1), topic(1)

    @app.handler(orders, batch=3, batch_wait=10)
    def bill(batch: list[int], ctx: elsa.Context) -> None:
        ctx.send(invoices, sum(batch))

    for number in (1, 2, 3):
        app.send(orders, number)
    with app:
        drawn = recorded.tree(5, {orders: "orders", invoices: "invoices"}, ["messaging.batch.message_count"])

    assert drawn == tree(
        """
        send orders
        send orders
        send orders
        process orders (attempt 1: ok, message_count=3, -> send orders, -> send orders, -> send orders)
          send invoices
        """
    )
    assert [dict(link.attributes) for link in recorded.named(f"process {orders}")[0].links] == [
        {"messaging.kafka.offset": offset} for offset in range(3)
    ]


def test_a_delayed_message_is_below_its_send_unless_that_is_long_ago(
    recorded: Recorded, app: elsa.App, topic: Topics, log: Log
) -> None:
    orders = topic(1)

    @app.handler(orders)
    def bill(order: int) -> None: ...

    with app:
        bill.options(delay=2).send(7)
        drawn = recorded.tree(2, {orders: "orders", app.name: "shop"}, ["elsa.delay_topic"])
        bill.options(delay=7200).send(8).result(20)
    (far,) = [copy for copy in log.read(f"{app.name}.delay.4096") if names.text(copy.headers, names.TARGET) is not None]

    assert drawn == tree(
        """
        send orders (delay_topic=shop.delay.1)
          process orders (attempt 1: ok)
        """
    )
    assert names.text(far.headers, names.TRACE) == names.LINK


def test_a_message_that_says_so_is_only_linked_to(recorded: Recorded, app: elsa.App, topic: Topics) -> None:
    """As one that has waited for hours."""
    orders = topic(1)

    @app.handler(orders)
    def bill(order: int) -> None: ...

    sent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    with app:
        app._producer = None  # not traced: the headers are what another program has written
        plain = elsa.App(f"{app.name}-other", brokers=app.settings.brokers)
        plain.observer.trace_send = lambda _, headers: (headers, lambda *_: None)
        plain.send(orders, 7, headers={"traceparent": sent, names.TRACE: names.LINK}).result(20)
        plain.stop()
        drawn = recorded.tree(1, {orders: "orders"})

    assert drawn == "process orders (attempt 1: ok, -> a span of others)"
    assert recorded.spans[0].parent is None


def test_calls_in_child_processes(recorded: Recorded, jobs: Callable[..., Jobs], log: Log, topic: Topics) -> None:
    """The span is around the call, and what the child sends carries its trace, though the child has no provider."""
    made = jobs("retry=elsa.Retry(max_attempts=2, base=0.1)")
    made.app.topics.create(f"{made.name}.out")
    with made.app:
        made.send(("send", 1), ("later", 2), ("value", 3), key=b"k")
        (dead,) = made.dead(1)
        drawn = recorded.tree(9, {made.name: "jobs", made.app.name: "shop"})
    (sent,) = log.read(f"{made.name}.out")

    assert sorted(drawn.splitlines()) == sorted(
        tree(
            """
            send jobs
              process jobs (attempt 1: ok)
            send jobs
              process jobs (attempt 1: retried, elsa.retry)
              process jobs (attempt 2: ok)
            send jobs
              process jobs (attempt 1: retried, error ValueError, elsa.retry)
              process jobs (attempt 2: dead, exhausted, error ValueError)
                send jobs.shop.dlq
            """
        ).splitlines()
    )
    call = next(
        span for span in recorded.named(f"process {made.name}") if span.attributes["messaging.kafka.offset"] == 0
    )
    assert traces(sent) == [place(call)]
    (last,) = recorded.named(f"send {made.name}.{made.app.name}.dlq")
    assert traces(dead) == [place(last)]


def test_a_send_that_kafka_refuses_ends_with_the_error(recorded: Recorded, app: elsa.App, topic: Topics) -> None:
    orders = topic(1, {"max.message.bytes": "1000"})

    with pytest.raises(MessageTooLarge):
        app.send(orders, "x" * 5_000).result(20)

    assert recorded.tree(1, {orders: "orders"}) == "send orders (error MSG_SIZE_TOO_LARGE)"


class Places(logging.Handler):
    """The spans in which failures of handlers are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", "") == "handler_failed":
            self.found.append(trace.get_current_span().get_span_context().span_id)


@pytest.mark.parametrize("transactional", [False, True], ids=["", "transactional"])
@pytest.mark.parametrize("batch", [None, 5])
def test_a_call_has_failed_whose_send_is_refused_when_it_has_returned(
    recorded: Recorded,
    app: elsa.App,
    topic: Topics,
    batch: int | None,
    transactional: bool,  # noqa: FBT001 - parametrized
) -> None:
    orders, narrow = topic(1), topic(1, {"max.message.bytes": "100"})
    calls: list[int] = []

    def bill(order: Any, ctx: elsa.Context) -> None:
        calls.append(trace.get_current_span().get_span_context().span_id)
        ctx.send(narrow, b"x" * 1_000)

    bill.__annotations__ = {"order": int if batch is None else list[int], "ctx": elsa.Context}
    app.handler(orders, batch=batch, transactional=transactional, retry=elsa.Retry(max_attempts=2, base=0.1))(bill)
    places = Places()
    logging.getLogger("elsa.worker").addHandler(places)
    try:
        with app, recorded.program()("checkout"):
            app.send(orders, 7)
            recorded.tree(6, {})
        drawn = recorded.tree(7, {orders: "orders", narrow: "narrow", app.name: "app"})
    finally:
        logging.getLogger("elsa.worker").removeHandler(places)

    assert drawn == tree(
        """
        checkout
          send orders
            process orders (attempt 1: retried, error MSG_SIZE_TOO_LARGE, elsa.retry)
              send narrow (error MSG_SIZE_TOO_LARGE)
            process orders (attempt 2: dead, exhausted, error MSG_SIZE_TOO_LARGE)
              send narrow (error MSG_SIZE_TOO_LARGE)
              send orders.app.dlq
        """
    )
    assert places.found == calls


def test_a_send_that_is_not_even_taken_ends_too(recorded: Recorded, make_app: Callable[..., elsa.App]) -> None:
    app = make_app(brokers="127.0.0.1:1", send_buffer=1, send_timeout=20.0)
    app.producer._partitions._unchecked["orders"] = float("inf")

    app.send("orders", 1)
    with pytest.raises(BufferFull):
        app.send("orders", 2, block=False)
    with pytest.raises(TypeError):
        app.producer.send("orders", 3)  # type: ignore[arg-type]  # on purpose
    drawn = recorded.tree(2, {})
    app.stop(0)

    assert drawn == "send orders (error _QUEUE_FULL)\nsend orders (error TypeError)"


def test_what_is_not_run_has_a_span_that_says_why(recorded: Recorded, app: elsa.App, topic: Topics) -> None:
    orders, late = topic(1), topic(1)

    @app.handler(orders, idempotent_by="id")
    def bill(order: int) -> None: ...

    @app.handler(late, on_expired="dead_letter")
    def remind(order: int) -> None: ...

    with app:
        bill.send(7, id="one").result(20)
        recorded.tree(2, {})
        bill.send(7, id="one").result(20)
        app.producer.send(late, b"1", headers={names.EXPIRES_AT: "1.0"}).result(20)
        drawn = recorded.tree(7, {orders: "orders", late: "late", app.name: "shop"})

    assert drawn == tree(
        """
        send orders
          process orders (attempt 1: ok)
        send orders
          process orders (attempt 1: skipped, handled before)
        send late
          process late (attempt 1: dead, expired, error elsa.errors.Reject)
            send late.shop.dlq
        """
    )


def test_what_a_transactional_call_sends(recorded: Recorded, app: elsa.App, topic: Topics) -> None:
    """Its spans end with the transaction, and those of an attempt that was given up with an error."""
    orders, invoices = topic(1), topic(1)

    @app.handler(orders, transactional=True, retry=elsa.Retry(max_attempts=2, base=0.1))
    def bill(order: int, ctx: elsa.Context) -> None:
        ctx.send(invoices, order)
        if ctx.attempt == 1:
            raise TimeoutError

    with app:
        bill.send(7)
        drawn = recorded.tree(5, {orders: "orders", invoices: "invoices"})

    assert drawn == tree(
        """
        send orders
          process orders (attempt 1: retried, error TimeoutError, elsa.retry)
            send invoices (error TimeoutError)
          process orders (attempt 2: ok)
            send invoices
        """
    )
    assert recorded.named(f"send {invoices}")[1].attributes["messaging.kafka.offset"] == 0


def test_a_schedule_begins_a_trace_with_each_call(recorded: Recorded, app: elsa.App) -> None:
    seen: Seen[Any] = Seen()

    @app.every(1)
    @app.task
    def refresh() -> None:
        seen(elsa.current().message)

    with app:
        seen.wait(1, 60)
    drawn = recorded.tree(2, {app.name: "shop"})

    assert drawn.splitlines()[:2] == ["send shop.tasks", "  process shop.tasks (attempt 1: ok)"]
    send, process = recorded.spans[:2]
    assert send.parent is None
    assert send.attributes["messaging.message.id"] == process.attributes["messaging.message.id"]
    assert process.attributes["elsa.handler"] == refresh.name


def test_the_optional_spans(recorded: Recorded, make_app: Callable[..., elsa.App], topic: Topics) -> None:
    app = make_app(trace_spans="poll, commit, create", trace_attributes="key, body_size")
    orders = topic(1)

    @app.handler(orders)
    def bill(order: int) -> None: ...

    bill.send_many([1, 2], key="k")
    with app:
        drawn = sorted(recorded.tree(7, {orders: "orders"}).splitlines())

    assert drawn[:7] == [
        "  process orders (attempt 1: ok)",
        "  process orders (attempt 1: ok)",
        "commit orders",
        "create orders",
        "create orders",
        "poll orders (-> create orders, -> create orders)",
        "send orders (-> create orders, -> create orders)",
    ]
    process = recorded.named(f"process {orders}")[0]
    assert process.attributes["messaging.kafka.message.key"] == "k"
    assert process.attributes["messaging.message.body.size"] == 1
    assert recorded.named(f"commit {orders}")[-1].attributes["messaging.kafka.offset"] == 2
