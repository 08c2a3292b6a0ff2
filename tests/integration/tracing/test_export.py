"""Spans of all processes of a worker reach a collector: by `ELSA_OTEL=1`, and by `opentelemetry-instrument`.

Nothing in the app's code sets OpenTelemetry up. The exporter is told to wait for ten minutes, so that what arrives
was flushed when the worker stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa import exits
from elsa import headers as names

from .collector import BIN, Collector, Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from elsa.testing.kafka import Topics
    from tests.integration.engine.waiting import Log

pytestmark = pytest.mark.broker

APP = """
import os, sys
import elsa

app = elsa.App({app!r}, brokers={brokers!r}, runtime_dir={folder!r})

@app.handler({orders!r})
def bill(order: int, ctx: elsa.Context) -> None:
    ctx.send({invoices!r}, [os.getpid(), sorted(name for name in sys.modules if name.startswith("opentelemetry"))])

@app.handler({letters!r}, executor="process")
def post(letter: int, ctx: elsa.Context) -> None:
    ctx.send({invoices!r}, [os.getpid(), sorted(name for name in sys.modules if name.startswith("opentelemetry"))])
"""


class Shop:
    """An app in a folder, and what its worker does with two messages of each kind."""

    def __init__(self, folder: Path, brokers: str, app: elsa.App, topic: Topics, log: Log) -> None:
        self.folder = folder
        self.app = app
        self.log = log
        self.orders, self.letters, self.invoices = topic(2), topic(1), topic(1)
        facts = {"orders": self.orders, "letters": self.letters, "invoices": self.invoices}
        (folder / "shop.py").write_text(APP.format(app=app.name, brokers=brokers, folder=str(folder), **facts))

    def work(self, environment: dict[str, str], *before: str) -> list[elsa.Message]:
        """What was sent, when the worker has handled all of it and has ended."""
        worker = Worker(self.folder, environment, *before, args=["--processes", "2"])
        try:
            for partition in (0, 1):
                self.app.produce(self.orders, elsa.Record(b"1", partition=partition))
                self.app.produce(self.letters, b"1")
            found = self.log.wait_for(self.invoices, 4)
            self.log.wait_committed(self.app.name, self.letters, 2)
            assert worker.end() == exits.OK, worker.log
        finally:
            worker.kill()
        return found


@pytest.fixture
def shop(tmp_path: Path, brokers: str, topic: Topics, log: Log, make_app: Callable[..., elsa.App]) -> Shop:
    return Shop(tmp_path, brokers, make_app(), topic, log)


def place(message: elsa.Message) -> tuple[str, str]:
    """The trace and the span that a message was sent by; it has one such header."""
    (header,) = [value for name, value in message.headers if name == "traceparent"]
    _, trace, span, _ = (header or b"").decode().split("-")
    return trace, span


@pytest.mark.parametrize("way", ["ELSA_OTEL=1", "opentelemetry-instrument"])
def test_every_process_exports(shop: Shop, way: str) -> None:
    # with that, contrib's own instrumentation of confluent-kafka is on as well
    before = [str(BIN / way)] if way == "opentelemetry-instrument" else []
    with Collector() as collector:
        own = {"OTEL_SERVICE_NAME": "the-shop"} if before else {"ELSA_OTEL": "1"}
        sent = shop.work({**collector.environment, **own}, *before)
    spans = {span.id: span for span in collector.spans}

    assert {span.scope for span in spans.values()} == {"elsa"}
    assert {span.service for span in spans.values()} == {"the-shop" if before else shop.app.name}
    for message in sent:
        trace, span = place(message)
        send = spans[span]
        assert (send.name, send.trace) == (f"send {shop.invoices}", trace)
        assert send.attributes["messaging.kafka.offset"] == message.offset
        assert spans[send.parent].name in (f"process {shop.orders}", f"process {shop.letters}")
    assert len(spans) == 8
    if not before:
        pids = [json.loads(message.value or b"")[0] for message in sent]
        assert {spans[place(message)[1]].pid for message in sent} == set(pids)
        # two worker processes may do, but what runs in children has processes of its own
        assert len({span.pid for span in spans.values() if span.name == f"process {shop.letters}"} & set(pids)) <= 1


def test_without_a_provider_nothing_of_opentelemetry_is_loaded(shop: Shop) -> None:
    sent = shop.work({})

    assert [json.loads(message.value or b"")[1] for message in sent] == [[], [], [], []]
    assert {name for message in sent for name, _ in message.headers} == set()


def test_a_trace_passes_through_without_a_provider(shop: Shop) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    record = elsa.Record(b"1", headers={"traceparent": trace, "baggage": "tenant=7,user=ann", "own": "1"})
    worker = Worker(shop.folder, {"ELSA_TRACE_PASSTHROUGH": "1", "ELSA_TRACE_BAGGAGE": "tenant"})
    try:
        shop.app.produce(shop.orders, record)
        shop.app.produce(shop.letters, record)
        sent = shop.log.wait_for(shop.invoices, 2)
        assert worker.end() == exits.OK, worker.log
    finally:
        worker.kill()

    for message in sent:
        assert dict(message.headers) == {"traceparent": trace.encode(), "baggage": b"tenant=7"}


def test_a_missing_extra_is_told(shop: Shop) -> None:
    (shop.folder / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry.sdk.resources'] = None\n")
    worker = Worker(shop.folder, {"ELSA_OTEL": "1", "PYTHONPATH": str(shop.folder)})
    try:
        code = worker.wait()
    finally:
        worker.kill()

    assert code == exits.USAGE
    assert "otel is set, and the SDK of OpenTelemetry is not installed" in worker.log
    assert 'pip install "elsa[otel]"' in worker.log
    assert "Traceback" not in worker.log


def test_a_collector_that_is_away_holds_no_stop_up(shop: Shop) -> None:
    sent = shop.work({"ELSA_OTEL": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})

    assert len({place(message) for message in sent}) == 4


CONTRIB = """
    import sys
    {instrument}
    import confluent_kafka
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)

    import threading
    import elsa
    brokers, name, topic, folder = sys.argv[1:]
    app = elsa.App(name, brokers=brokers, runtime_dir=folder)
    handled = threading.Event()

    @app.handler(topic)
    def handle(body: int, ctx: elsa.Context) -> None:
        handled.set()

    with app:
        handle.send(1).result(20)
        assert handled.wait(30)
    own = confluent_kafka.Producer({{"bootstrap.servers": brokers}})
    own.produce(topic, value=b"2")
    own.flush(20)
    for span in exporter.get_finished_spans():
        print(span.instrumentation_scope.name, span.name.replace(topic, "topic"))
"""
INSTRUMENT = """
    from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor
    ConfluentKafkaInstrumentor().instrument()
"""


@pytest.mark.parametrize("is_instrumented", [False, True])
def test_contribs_instrumentation_adds_nothing_to_ours(
    brokers: str, make_app: Callable[..., elsa.App], topic: Topics, log: Log, tmp_path: Path, *, is_instrumented: bool
) -> None:
    """In a process of its own, for it changes confluent_kafka; producers that the user makes are still seen by it."""
    app, name = make_app(), topic(1)
    script = textwrap.dedent(CONTRIB).format(instrument=textwrap.dedent(INSTRUMENT) if is_instrumented else "")
    run: Any = subprocess.run(
        [sys.executable, "-c", script, brokers, app.name, name, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    ours, theirs = log.read(name)

    contrib = [line for line in run.stdout.splitlines() if not line.startswith("elsa ")]
    # a send's span ends with its report, which the handler may be ahead of
    assert sorted(line for line in run.stdout.splitlines() if line.startswith("elsa ")) == [
        "elsa process topic",
        "elsa send topic",
    ]
    assert [name for name, _ in ours.headers] == ["traceparent"]
    assert len(contrib) == is_instrumented
    assert (names.text(theirs.headers, "traceparent") is not None) == is_instrumented
