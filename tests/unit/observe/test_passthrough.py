"""Traces that are handed on without a provider."""

from __future__ import annotations

from opentelemetry import trace

from elsa.message import Message
from elsa.observe import context
from elsa.observe.passthrough import PassThrough

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


def message(*headers: tuple[str, bytes | None]) -> Message:
    return Message("orders", 0, 1, None, b"", headers)


def test_what_a_handler_sends_has_the_headers_of_its_message() -> None:
    passing = PassThrough(["tenant"])
    span = passing.handler("billing", "orders", "shop.bill").span
    assert span is not None
    incoming = message(("traceparent", PARENT), ("tracestate", b"a=1"), ("baggage", b"tenant=7,user=ann"))

    with span([incoming], 1) as call:
        assert f"{trace.get_current_span().get_span_context().trace_id:032x}" == TRACE
        sent, end = passing._trace_send("invoices", [("own", b"1"), ("traceparent", b"mine")])
        end(None, None)
        call.outcome("ok")

    assert dict(sent) == {"own": b"1", "traceparent": PARENT, "tracestate": b"a=1", "baggage": b"tenant=7"}
    assert not trace.get_current_span().get_span_context().is_valid


def test_nothing_is_added_where_there_is_no_trace() -> None:
    passing = PassThrough()
    span = passing.handler("billing", "orders", "shop.bill").span
    assert span is not None

    with span([message()], 1):
        sent, _ = passing._trace_send("invoices", [("own", b"1"), ("traceparent", b"mine")])
    with span([message(("traceparent", PARENT)), message(("traceparent", PARENT))], 1):
        of_batch, _ = passing._trace_send("invoices", ())

    assert sent == [("own", b"1"), ("traceparent", b"mine")]
    assert of_batch == []


def test_a_trace_goes_to_another_process_and_back() -> None:
    with context.carrying((("traceparent", PARENT), ("baggage", b"tenant=7"))):
        carried = context.carried()

    assert dict(carried) == {"traceparent": PARENT, "baggage": b"tenant=7"}
    assert context.carried() == ()
