"""A real Prometheus asks a worker of two processes, and knows the traces of its calls: a point on a board leads there.

It negotiates OpenMetrics by itself, the only format that has exemplars. Whoever asks for nothing gets plain text, with
the same names of series: no board and no alert is to depend on who asks.
"""

from __future__ import annotations

import json
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

import elsa
from elsa import exits
from tests.integration.dashboards.prometheus import prometheus, require_prometheus, until

from .collector import Collector, Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker

ACCEPTED = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
APP = """
import elsa

app = elsa.App({app!r}, brokers={brokers!r}, runtime_dir={folder!r})

@app.handler({orders!r})
def bill(order: int) -> None: ...
"""


def address(worker: Worker) -> str | None:
    """Host and port of its metrics, once it has said so."""
    for line in worker.log.splitlines():
        if '"worker_started"' in line:
            return str(json.loads(line)["worker"]["metrics"]).removeprefix("http://").removesuffix("/metrics")
    return None


def page(where: str, **headers: str) -> str:
    with urllib.request.urlopen(
        urllib.request.Request(f"http://{where}/metrics", headers=headers), timeout=10
    ) as answer:
        return str(answer.read().decode())


def handled(text: str, topic: str) -> float:
    samples = (sample for family in parse(text) for sample in family.samples)
    wanted = {"topic": topic, "outcome": "ok"}
    return sum(
        sample.value
        for sample in samples
        if sample.name == "elsa_messages_processed_total" and wanted.items() <= sample.labels.items()
    )


def test_prometheus_knows_the_traces_of_calls(
    brokers: str, make_app: Callable[..., elsa.App], topic: Topics, tmp_path: Path
) -> None:
    require_prometheus()
    app, orders = make_app(), topic(2)
    facts = {"app": app.name, "brokers": brokers, "folder": str(tmp_path), "orders": orders}
    (tmp_path / "shop.py").write_text(APP.format(**facts))
    began = time.time()
    query = f'elsa_process_duration_seconds_bucket{{topic="{orders}"}}'

    with Collector() as collector, prometheus(tmp_path, []) as watcher:
        environment = {**collector.environment, "ELSA_OTEL": "1", "ELSA_JSON_LOGS": "1"}
        worker = Worker(tmp_path, environment, args=["--processes", "2", "--metrics-port", "0"])
        try:
            where = until(lambda: address(worker), "the worker tells where its metrics are")
            watcher.watch("shop", where)
            for partition in (0, 1):
                app.produce(orders, elsa.Record(b"1", partition=partition))
            until(lambda: handled(page(where), orders) == 2, "both are handled")
            asked: dict[str, Any] = {"query": query, "start": began, "end": began + 3600}
            known = until(lambda: watcher.get("query_exemplars", **asked), "Prometheus knows an exemplar")
            plain, strict = page(where), page(where, Accept=ACCEPTED)
            assert worker.end() == exits.OK, worker.log
        finally:
            worker.kill()

    traces = {span.trace for span in collector.spans if span.name == f"process {orders}"}
    assert len(traces) == 2
    for series in known:
        for exemplar in series["exemplars"]:
            assert exemplar["labels"]["trace_id"] in traces
            assert float(exemplar["value"]) <= float(series["seriesLabels"]["le"])
    assert "trace_id" not in plain
    families = list(parse_openmetrics(strict))  # type: ignore[no-untyped-call]  # theirs
    assert {sample.name for family in families for sample in family.samples} == {
        sample.name for family in parse(plain) for sample in family.samples
    }
