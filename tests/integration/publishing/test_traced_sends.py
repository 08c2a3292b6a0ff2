"""A program that only sends, and has set a tracer provider, gives its messages their trace.

A worker adds spans by itself; a web server that publishes has no worker, and its trace must not end where the
message begins.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from elsa import headers

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.fetcher import Fetcher
    from elsa.testing.kafka import Topics

SCRIPT = """
    import sys
    import elsa, elsa.observer
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    app = elsa.App("traced-sends", brokers=sys.argv[1], observer=OBSERVER)

    @app.handler(sys.argv[2])
    def bill(order: dict) -> None: ...

    with trace.get_tracer("shop").start_as_current_span("checkout") as span:
        bill.send({"id": 1}).result(20)
        app.produce(sys.argv[2], b"plain")
    print(format(span.get_span_context().trace_id, "032x"))
    app.stop()
"""


@pytest.mark.broker
@pytest.mark.parametrize("observer", ["None", "type('Mine', (elsa.observer.Observer,), {})()"])
def test_a_send_carries_the_trace_of_the_program_around_it(
    settings: Settings, fetcher: Fetcher, topic: Topics, observer: str
) -> None:
    name = topic()
    script = textwrap.dedent(SCRIPT).replace("OBSERVER", observer)
    done = subprocess.run(
        [sys.executable, "-c", script, settings.brokers, name], capture_output=True, text=True, check=True, timeout=60
    )

    parents = [headers.text(m.headers, "traceparent") for m in fetcher.stream(name)]
    assert [parent.split("-")[1] for parent in parents if parent] == [done.stdout.strip()] * 2
