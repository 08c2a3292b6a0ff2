"""The observer learns the trace of each call that ran in a recorded, sampled span, and of no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

import elsa
from elsa.observe.compound import Compound
from elsa.observe.metrics import PrometheusObserver
from elsa.observe.passthrough import PassThrough
from elsa.observe.spans import TracingObserver
from elsa.observer import HandlerObserver, Observer

from .parts import Around

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from elsa.observe.exposition import Exemplar

TRACES = ["a" * 32, "b" * 32]


class Told(Observer):
    """Keeps what it is told of samples."""

    def __init__(self) -> None:
        self.traces: list[str] = []
        self.seconds: list[float] = []
        self.durations: list[float] = []

    def handler(self, group: str | None, topic: str, handler: str) -> HandlerObserver:
        watcher = HandlerObserver()
        watcher.sampled = self._sampled  # type: ignore[method-assign]  # an observer may be made so
        watcher.finished = self._finished  # type: ignore[method-assign]  # as above
        return watcher

    def _sampled(self, seconds: float, trace: str) -> None:
        self.traces.append(trace)
        self.seconds.append(seconds)

    def _finished(self, durations: Sequence[float], outcomes: Any) -> None:
        self.durations += durations


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-traced")
    yield app
    app.stop()


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """`provide(sampler)` sets a tracer provider."""
    made: list[TracerProvider] = []

    def make(sampler: Any) -> None:
        made.append(TracerProvider(sampler=sampler))
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: made[-1])

    yield make
    for provider in made:
        provider.shutdown()


def declare(app: elsa.App, kind: str) -> None:
    if kind == "sync":

        @app.handler("t")
        def call(body: int) -> None: ...

    elif kind == "async":

        @app.handler("t")
        async def call_async(body: int) -> None: ...

    elif kind == "failing":

        @app.handler("t", retry=None, on_exhausted="skip")
        def fail(body: int) -> None:
            raise ValueError(body)

    else:

        @app.handler("t", batch=1, batch_wait=0)
        def call_batch(bodies: list[int]) -> None: ...


def run(app: elsa.App, raw: Any, *observers: Observer) -> None:
    """Handle a message of each of the traces."""
    around = Around()
    worker = around.make(app, observer=Compound(*observers).handler("g", "t", "h"))
    worker.put(
        [
            raw(offset, b"1", headers=[("traceparent", f"00-{trace}-{'c' * 16}-01".encode())])
            for offset, trace in enumerate(TRACES)
        ]
    )
    around.run(worker)


@pytest.mark.parametrize("kind", ["sync", "async", "failing", "batch"])
def test_a_sampled_call_is_told_with_its_trace_and_how_long_it_took(
    app: elsa.App, raw: Any, provide: Callable[[Any], None], kind: str
) -> None:
    provide(ALWAYS_ON)
    declare(app, kind)
    told = Told()

    run(app, raw, TracingObserver(), told)

    assert told.traces == TRACES
    assert told.seconds == told.durations


@pytest.mark.parametrize("kind", ["sync", "async", "failing", "batch"])
def test_a_call_that_is_not_sampled_is_not_told(
    app: elsa.App, raw: Any, provide: Callable[[Any], None], kind: str
) -> None:
    provide(ALWAYS_OFF)
    declare(app, kind)
    told = Told()

    run(app, raw, TracingObserver(), told)

    assert (told.traces, len(told.durations)) == ([], 2)


@pytest.mark.parametrize("others", [(), (PassThrough(()),)], ids=["nobody traces", "traces pass through"])
def test_without_a_span_of_our_own_nothing_is_told(app: elsa.App, raw: Any, others: tuple[Observer, ...]) -> None:
    declare(app, "sync")
    told = Told()

    run(app, raw, *others, told)

    assert (told.traces, len(told.durations)) == ([], 2)


def test_the_bucket_of_a_call_shows_its_trace(app: elsa.App, raw: Any, provide: Callable[[Any], None]) -> None:
    provide(ALWAYS_ON)
    declare(app, "sync")
    metrics = PrometheusObserver()

    run(app, raw, TracingObserver(), metrics)

    found: list[tuple[str, float, Exemplar]] = [
        (dict(labels)["le"], value, exemplar)
        for name, _, _, samples in metrics.families()
        for _, labels, value, exemplar in samples
        if exemplar is not None and name == "elsa_process_duration_seconds"
    ]
    assert found
    assert found[-1][1] == 2
    for le, _, (labels, seconds, _) in found:
        assert dict(labels)["trace_id"] in TRACES
        assert seconds <= float(le)


def test_of_tasks_each_has_its_spans_and_traces_and_who_is_unknown_has_neither(
    app: elsa.App, raw: Any, provide: Callable[[Any], None]
) -> None:
    provide(ALWAYS_ON)
    for name in ("one", "two"):

        @app.task(topic="t", name=name)
        def task() -> None:
            """Whichever it is."""

    spans, metrics = TracingObserver(), PrometheusObserver()
    heard: list[str] = []

    def observer_of(name: str) -> HandlerObserver:
        made = Compound(spans, metrics).handler("g", "t", name)
        assert made.span is not None
        enclose = made.span

        def span(messages: Any, attempt: int) -> Any:
            heard.append(name)
            return enclose(messages, attempt)

        made.span = span
        return made

    around = Around()
    worker = around.make(
        app, observer=observer_of("all"), task_observers={name: observer_of(name) for name in ("one", "two")}
    )
    called = ("two", "one", "nobody", "two")
    worker.put([raw(offset, b"[[],{}]", headers=[("elsa-task", name.encode())]) for offset, name in enumerate(called)])
    around.run(worker)

    assert heard == ["two", "one", "all", "two"]
    exemplars = {
        dict(labels)["handler"]
        for name, _, _, samples in metrics.families()
        for _, labels, _, exemplar in samples
        if exemplar is not None and name == "elsa_process_duration_seconds"
    }
    assert exemplars == {"one", "two"}
