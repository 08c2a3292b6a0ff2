"""A supervisor serves the metrics of its worker processes on one port, and one of them is killed.

Prometheus takes a counter that falls for a restart, and `rate()` then shows a peak that never was. So what a
killed process had counted stays in the sums, while its gauges (partitions it no longer owns) vanish at once.
Real processes, real pipes, a real HTTP scrape; no broker is needed.
"""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from elsa.observe.http import MetricsServer
from elsa.observe.merge import Merger, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKER = """
import sys
from elsa.observe.merge import pack, snapshot
from elsa.observe.metrics import PrometheusObserver
from elsa.observe.registry import process_registry
from elsa.observer import PartitionSnapshot

partition = int(sys.argv[1])
observer = PrometheusObserver()
handler = observer.handler("billing", "orders", "shop.bill")
observer.watch(lambda: [PartitionSnapshot(
    "billing", "orders", partition, "shop.bill", 5, 5, 9, 0, 0, 0, 0, 1, None, None)])
for line in sys.stdin:
    handled = int(line)
    handler.finished([0.01] * handled, {"ok": handled})
    print(pack(snapshot(observer, process_registry())), flush=True)
"""


class Worker:
    """One worker process, told how many messages it handled before each snapshot."""

    def __init__(self, partition: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(partition)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.process.pid

    def handle(self, messages: int, merger: Merger) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{messages}\n")
        self.process.stdin.flush()
        merger.update(self.pid, unpack(self.process.stdout.readline()))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[[int], Worker]]:
    started: list[Worker] = []

    def make(partition: int) -> Worker:
        started.append(Worker(partition))
        return started[-1]

    yield make
    for worker in started:
        worker.kill()


Scrape = dict[str, dict[tuple[tuple[str, str], ...], float]]


def scrape(server: MetricsServer) -> Scrape:
    with urllib.request.urlopen(server.url, timeout=10) as response:
        text = response.read().decode()
    found: Scrape = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if family.type in {"counter", "histogram"} or sample.name == "elsa_consumer_lag_messages":
                found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def processed(page: Scrape) -> float:
    return sum(page["elsa_messages_processed_total"].values())


def test_no_counter_falls_when_a_process_is_killed(start: Callable[[int], Worker]) -> None:
    merger = Merger()
    with MetricsServer(merger.render, port=0) as server:
        first, second = start(0), start(1)
        first.handle(30, merger)
        second.handle(12, merger)
        before = scrape(server)
        first.kill()
        merger.end(first.pid)
        merger.add("elsa_worker_restarts_total", reason="signal")
        between = scrape(server)
        successor = start(0)
        successor.handle(1, merger)
        after = scrape(server)

    assert [processed(page) for page in (before, between, after)] == [42, 42, 43]
    for earlier, later in ((before, between), (between, after)):
        for name, series in earlier.items():
            for labels, value in series.items():
                assert name == "elsa_consumer_lag_messages" or later[name][labels] >= value, (name, labels)
    owners = [
        {dict(labels)["partition"] for labels in page["elsa_consumer_lag_messages"]}
        for page in (before, between, after)
    ]
    assert owners == [{"0", "1"}, {"1"}, {"0", "1"}]
