"""Golden span trees of sends and handler calls, through the SDK's in-memory exporter."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from elsa.clock import SYSTEM
from elsa.errors import KafkaError, RetryLater, Skip
from elsa.message import Message, RecordMetadata, TopicPartition
from elsa.observe import attributes, spans, tracing
from elsa.observe.context import extract, inject
from elsa.observe.spans import TracingObserver
from elsa.policies.delay import envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.message import Headers

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()
UNSAMPLED = f"00-{TRACE}-{SPAN}-00".encode()


class Recorded:
    """A provider of this test's own, and what it recorded."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def spans(self) -> tuple[Any, ...]:
        return self.exporter.get_finished_spans()

    def by_name(self) -> dict[str, Any]:
        found = {span.name: span for span in self.spans()}
        assert len(found) == len(self.spans())
        return found

    def only(self) -> Any:
        (span,) = self.spans()
        return span


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    recorded = Recorded()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: recorded.provider)
    yield recorded
    recorded.provider.shutdown()


def message(offset: int = 7, parent: bytes | None = PARENT, *headers: tuple[str, bytes | None]) -> Message:
    own: Headers = () if parent is None else (("traceparent", parent),)
    return Message("orders", 3, offset, b"k", b"{}", headers=(*headers, *own))


def span_maker(**options: Any) -> Callable[..., Any]:
    maker = TracingObserver(brokers="kafka-1:9092,kafka-2:9092", client_id="shop", **options)
    span = maker.handler("billing", "orders", "shop.bill").span
    assert span is not None
    return span


def send_tracer() -> Callable[..., Any]:
    trace_send = TracingObserver().trace_send
    assert trace_send is not None
    return trace_send


def test_a_single_message(recorded: Recorded) -> None:
    with span_maker()([message(7, PARENT, ("elsa-id", b"018f"))], 1) as span:
        span.outcome("ok")

    found = recorded.only()
    assert found.name == "process orders"
    assert found.kind is SpanKind.CONSUMER
    assert dict(found.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders",
        "messaging.destination.partition.id": "3",
        "messaging.consumer.group.name": "billing",
        "messaging.client.id": "shop",
        "messaging.kafka.offset": 7,
        "messaging.message.id": "018f",
        "server.address": "kafka-1",
        "server.port": 9092,
        "elsa.handler": "shop.bill",
        "elsa.attempt": 1,
        "elsa.outcome": "ok",
    }
    assert f"{found.context.trace_id:032x}" == TRACE
    assert f"{found.parent.span_id:016x}" == SPAN
    assert [link.context.span_id for link in found.links] == [found.parent.span_id]
    assert found.status.status_code is StatusCode.UNSET
    assert found.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"


def test_a_message_without_a_trace_begins_one(recorded: Recorded) -> None:
    with (
        recorded.provider.get_tracer("the worker's own").start_as_current_span("loop"),
        span_maker()([message(parent=None)], 1),
    ):
        pass

    found = recorded.by_name()["process orders"]
    assert found.parent is None
    assert found.links == ()


def test_a_process_span_may_only_link(recorded: Recorded) -> None:
    with span_maker(parent="link")([message()], 1):
        pass

    found = recorded.only()
    assert found.parent is None
    assert f"{found.context.trace_id:032x}" != TRACE
    assert [f"{link.context.trace_id:032x}" for link in found.links] == [TRACE]


def test_a_batch_is_a_root_that_links_to_its_messages(recorded: Recorded) -> None:
    other = b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"
    batch = [message(7), message(8, other, ("elsa-id", b"b")), message(9, None)]

    with span_maker()(batch, 1) as span:
        span.outcome("ok")

    found = recorded.only()
    assert found.parent is None
    assert found.attributes["messaging.batch.message_count"] == 3
    assert "messaging.kafka.offset" not in found.attributes
    assert [(f"{link.context.trace_id:032x}", dict(link.attributes)) for link in found.links] == [
        (TRACE, {"messaging.kafka.offset": 7}),
        ("1" * 32, {"messaging.kafka.offset": 8, "messaging.message.id": "b"}),
    ]


def test_a_failing_handler(recorded: Recorded) -> None:
    error = ValueError("no such customer")
    with span_maker()([message()], 2) as span:
        span.outcome("dead", error)

    found = recorded.only()
    assert found.status.status_code is StatusCode.ERROR
    assert found.status.description == "no such customer"
    assert found.attributes["error.type"] == "ValueError"
    assert found.attributes["elsa.outcome"] == "dead"
    assert [event.name for event in found.events] == ["exception"]


def test_an_error_that_escapes_is_recorded_and_not_held_back(recorded: Recorded) -> None:
    with pytest.raises(KeyError), span_maker()([message()], 1):
        raise KeyError("x")

    assert recorded.only().attributes["elsa.outcome"] == "failed"
    assert recorded.only().attributes["error.type"] == "KeyError"
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_skip_is_no_error(recorded: Recorded) -> None:
    with span_maker()([message()], 1) as span:
        span.outcome("skipped", Skip("old"))

    assert recorded.only().status.status_code is StatusCode.UNSET


def test_attempts_are_siblings_under_the_messages_span(recorded: Recorded) -> None:
    make = span_maker()
    for attempt, (outcome, error) in enumerate(
        [("retried", ValueError("x")), ("retried", RetryLater(5.0)), ("ok", None)], start=1
    ):
        with make([message()], attempt) as span:
            span.outcome(outcome, error)
            if outcome == "retried":
                tracing.note("", 5.0)

    first, second, third = recorded.spans()
    assert [each.attributes["elsa.attempt"] for each in (first, second, third)] == [1, 2, 3]
    assert {f"{each.parent.span_id:016x}" for each in (first, second, third)} == {SPAN}
    assert [event.name for event in first.events] == ["exception", "elsa.retry"]
    assert [(event.name, dict(event.attributes)) for event in second.events] == [("elsa.retry", {"elsa.delay": 5.0})]
    assert [each.status.status_code for each in (first, second, third)] == [
        StatusCode.ERROR,
        StatusCode.UNSET,
        StatusCode.UNSET,
    ]


def test_a_send_inside_a_handler_is_a_child_of_its_process_span(recorded: Recorded) -> None:
    trace_send = send_tracer()
    with span_maker()([message()], 1):
        headers, end = trace_send("invoices", {"own": b"1"})
    assert "send invoices" not in recorded.by_name()  # until the delivery report
    end(RecordMetadata("invoices", 4, 11), None)

    process, send = recorded.by_name()["process orders"], recorded.by_name()["send invoices"]
    assert send.parent.span_id == process.context.span_id
    assert send.kind is SpanKind.PRODUCER
    assert headers == [  # confluent-kafka takes no tuple
        ("own", b"1"),
        ("traceparent", f"00-{TRACE}-{send.context.span_id:016x}-01".encode()),
    ]
    assert dict(send.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "invoices",
        "messaging.destination.partition.id": "4",
        "messaging.kafka.offset": 11,
    }


def test_a_send_that_is_not_delivered_is_an_error(recorded: Recorded) -> None:
    _, end = send_tracer()("orders", ())
    end(None, KafkaError("timed out", code="_MSG_TIMED_OUT"))

    assert recorded.only().attributes["error.type"] == "_MSG_TIMED_OUT"
    assert recorded.only().status.status_code is StatusCode.ERROR


def test_the_trace_header_is_replaced_and_the_users_headers_are_left_alone(recorded: Recorded) -> None:
    own = [("traceparent", b"old"), ("a", b"1"), ("a", None), ("traceparent", b"older")]
    before = list(own)

    headers, end = send_tracer()("orders", own)
    end(None, None)

    assert own == before
    assert headers[:2] == [("a", b"1"), ("a", None)]
    assert [name for name, _ in headers[2:]] == ["traceparent"]


def test_the_last_readable_trace_header_counts() -> None:
    older = b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"
    headers = (("traceparent", older), ("traceparent", PARENT), ("traceparent", None), ("traceparent", b"\xff"))

    found = trace.get_current_span(extract(headers)).get_span_context()

    assert f"{found.trace_id:032x}" == TRACE
    assert not trace.get_current_span(extract((("traceparent", b"nonsense"),))).get_span_context().is_valid


def test_only_listed_baggage_crosses_kafka() -> None:
    context = baggage.set_baggage("tenant", "7", baggage.set_baggage("user", "ann"))

    assert inject((), context) == []
    headers = inject((), context, baggage=["tenant", "absent"])
    assert headers == [("baggage", b"tenant=7")]
    both = inject((), context, baggage=["tenant", "user"])
    assert dict(baggage.get_all(extract(tuple(both), ["tenant"]))) == {"tenant": "7"}
    assert dict(baggage.get_all(extract(tuple(both)))) == {}


def test_an_unsampled_message_makes_no_span_and_stays_unsampled(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer = TracingObserver()
    monkeypatch.setattr(observer._tracer, "start_span", lambda *_, **__: pytest.fail("a span was made"))
    span = observer.handler("billing", "orders", "shop.bill").span
    assert span is not None

    with span([message(parent=UNSAMPLED)], 1) as running:
        running.outcome("failed", ValueError())
        assert inject(()) == [("traceparent", UNSAMPLED)]

    assert recorded.spans() == ()


def test_a_sampler_that_wants_unsampled_messages_gets_them(recorded: Recorded) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    recorded.provider.sampler = ALWAYS_ON
    with span_maker()([message(parent=UNSAMPLED)], 1):
        pass

    assert recorded.only().name == "process orders"


def test_spans_of_threads_and_of_tasks_do_not_mix(recorded: Recorded) -> None:
    make = span_maker()

    def parents(number: int) -> bytes:
        return f"00-{number:032x}-{SPAN}-01".encode()

    def in_thread(number: int) -> bool:
        with make([message(number, parents(number))], 1):
            return trace.get_current_span().get_span_context().trace_id == number

    async def in_task(number: int) -> bool:
        with make([message(number, parents(number))], 1):
            await asyncio.sleep(0)
            return trace.get_current_span().get_span_context().trace_id == number

    async def tasks() -> list[bool]:
        return await asyncio.gather(*(in_task(number) for number in range(1, 20)))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(in_thread, range(1, 20)))
    assert all(asyncio.run(tasks()))
    assert len(recorded.spans()) == 38


def test_a_tombstone_and_a_pattern_are_named(recorded: Recorded) -> None:
    span = TracingObserver().handler(None, "^orders", "audit").span
    assert span is not None
    with span([Message("orders", 0, 1, b"k", None)], 1):
        pass

    attributes = recorded.only().attributes
    assert attributes["messaging.kafka.message.tombstone"] is True
    assert attributes["messaging.destination.template"] == "^orders"
    assert "messaging.consumer.group.name" not in attributes


@pytest.mark.parametrize(
    ("brokers", "expected"),
    [
        ("", {}),
        ("kafka", {"server.address": "kafka"}),
        ("kafka:9092", {"server.address": "kafka", "server.port": 9092}),
        ("SASL_SSL://[::1]:9093, other:1", {"server.address": "::1", "server.port": 9093}),
    ],
)
def test_the_first_broker_is_the_server(brokers: str, expected: dict[str, Any]) -> None:
    assert attributes.server(brokers) == expected


def test_the_propagator_is_the_programs_choice(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own:
        def inject(self, carrier: Any, context: Any, setter: Any) -> None:
            setter.set(carrier, "x-own", "1")

    monkeypatch.setattr(propagate, "get_global_textmap", Own)

    headers, end = send_tracer()("orders", ())
    end(None, None)

    assert headers == [("x-own", b"1")]


def links(span: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{link.context.span_id:016x}", dict(link.attributes)) for link in span.links]


def test_without_a_current_span_a_copy_is_below_the_trace_in_its_headers(recorded: Recorded) -> None:
    """A message whose call nobody has traced, or whose retry is sent from another thread."""
    headers, end = send_tracer()("orders.billing.dlq", [("elsa-origin", b"orders:0:1"), ("traceparent", PARENT)])
    end(None, None)

    send = recorded.only()
    assert f"{send.parent.span_id:016x}" == SPAN
    assert dict(headers)["elsa-origin-traceparent"] == PARENT
    assert dict(headers)["traceparent"] != PARENT


def test_the_first_origin_stays(recorded: Recorded) -> None:
    first = f"00-{TRACE}-{'1' * 16}-01".encode()
    copy = [("elsa-origin", b"orders:0:1"), ("elsa-origin-traceparent", first), ("traceparent", PARENT)]

    headers, end = send_tracer()("orders.billing.retry", copy)
    end(None, None)

    assert [value for name, value in headers if name == "elsa-origin-traceparent"] == [first]
    with span_maker()([message(7, PARENT, ("elsa-origin-traceparent", first))], 1):
        pass
    assert links(recorded.spans()[-1]) == [(SPAN, {}), ("1" * 16, {"elsa.link": "origin"})]


def test_what_is_apart_begins_a_trace_and_links_to_the_other(recorded: Recorded) -> None:
    headers, end = send_tracer()("orders.billing.retry", [("traceparent", PARENT), ("elsa-trace", b"link")])
    end(None, None)

    send = recorded.only()
    assert send.parent is None
    assert links(send) == [(SPAN, {})]
    # who handles it is below the replay
    assert [name for name, _ in headers] == ["traceparent"]
    with span_maker()([message(7, PARENT, ("elsa-trace", b"link"))], 1):
        pass
    process = recorded.spans()[-1]
    assert process.parent is None
    assert links(process) == [(SPAN, {})]


@pytest.mark.parametrize(("wait", "is_linked"), [(60.0, False), (7200.0, True)])
def test_what_waits_for_hours_is_linked_to(recorded: Recorded, wait: float, *, is_linked: bool) -> None:
    waiting = envelope([], due=SYSTEM.now() + wait, target="orders:3")

    headers, end = send_tracer()("shop.delay.64", waiting)
    end(RecordMetadata("shop.delay.64", 1, 2), None)

    assert (("elsa-trace", b"link") in headers) == is_linked
    send = recorded.only()
    assert send.name == "send orders"
    assert send.attributes["messaging.destination.name"] == "orders"
    assert send.attributes["elsa.delay_topic"] == "shop.delay.64"
    assert "messaging.kafka.offset" not in send.attributes


def test_a_task_has_its_name_and_what_no_task_wants_that_of_all(recorded: Recorded) -> None:
    observer = TracingObserver(functions={"shop.mail": "shop.tasks.mail"}.get)
    for name in ("shop.mail", "tasks of shop.tasks"):
        span = observer.handler("billing", "shop.tasks", name).span
        assert span is not None
        # a header may say anything
        with span([message(1, None, ("elsa-task", b"shop.mail"))], 1):
            pass

    known, unknown = (each.attributes for each in recorded.spans())
    assert (known["elsa.handler"], known["code.function.name"]) == ("shop.mail", "shop.tasks.mail")
    assert unknown["elsa.handler"] == "tasks of shop.tasks"
    assert "code.function.name" not in unknown


def test_optional_spans_of_a_group(recorded: Recorded) -> None:
    observer = TracingObserver(spans=["poll", "commit"]).group("billing")

    observer.fetched([Raw("orders"), Raw("orders"), Raw("invoices"), Raw("", error=True)], 0.5)
    observer.committed("ok", 0.1, {TopicPartition("orders", 3): 8})
    observer.committed("error", 0.1, {TopicPartition("orders", 3): 8, TopicPartition("orders", 4): 9})

    polled, other, committed, refused = recorded.spans()
    assert [each.name for each in recorded.spans()] == [
        "poll orders",
        "poll invoices",
        "commit orders",
        "commit orders",
    ]
    assert {each.kind for each in recorded.spans()} == {SpanKind.CLIENT}
    assert polled.attributes["messaging.operation.type"] == "receive"
    assert polled.attributes["messaging.batch.message_count"] == len(polled.links) == 2
    assert 0.4 < (other.end_time - other.start_time) / 1e9 < 0.6
    assert committed.attributes["messaging.operation.type"] == "settle"
    assert committed.attributes["messaging.consumer.group.name"] == "billing"
    assert committed.attributes["messaging.kafka.offset"] == 8
    assert refused.status.status_code is StatusCode.ERROR
    assert "messaging.kafka.offset" not in refused.attributes


def test_without_optional_spans_nobody_hears_a_group() -> None:
    observer = TracingObserver().group("billing")

    assert vars(observer) == {}


class Raw:
    """What a poll brings."""

    def __init__(self, topic: str, *, error: bool = False) -> None:
        self.topic = lambda: topic
        self.error = lambda: "trouble" if error else None
        self.headers = lambda: [("traceparent", PARENT)]


def test_no_old_name_is_in_the_code() -> None:
    """Names that the conventions have given up since."""
    old = re.compile(
        r'"messaging\.(destination|operation|message_id|destination_kind|client_id|kafka\.(partition|message_key|client_id'
        r'|consumer[._]group|destination\.partition|message\.offset))"|"net\.peer'
    )
    source = "".join(path.read_text() for path in Path(spans.__file__).parent.glob("*.py"))

    assert "messaging.destination.name" in source
    assert old.findall(source) == []
