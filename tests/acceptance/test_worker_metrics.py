"""`--metrics-port`: what can be read there while a backlog is worked off, and that no counter ever falls."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from elsa import exits

from .driver import until

if TYPE_CHECKING:
    from .conftest import SetStage
    from .driver import Tree

pytestmark = pytest.mark.broker

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def url(tree: Tree) -> str:
    """Where the metrics are, as the log says."""
    started = until(lambda: tree.events("worker_started"), "the worker tells where its metrics are")
    return str(started[0]["worker"]["metrics"]).removesuffix("/metrics")


def scrape(base: str) -> tuple[Samples, set[tuple[str, tuple[tuple[str, str], ...]]]]:
    """All samples, and which of them are counters."""
    with urllib.request.urlopen(f"{base}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    samples: Samples = {}
    counters = set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            samples[key] = sample.value
            if family.type in ("counter", "histogram") and not sample.name.endswith("_created"):
                counters.add(key)
    return samples, counters


def total(samples: Samples, name: str, **labels: str) -> float:
    return sum(v for (n, found), v in samples.items() if n == name and labels.items() <= dict(found).items())


def status(base: str, path: str) -> int:
    try:
        with urllib.request.urlopen(f"{base}{path}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_backlog_shows_lag_processed_and_in_progress(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.produce(1_200, seconds=0.02)
    tree = stage.start("--metrics-port", "0", "-c", "6")
    base = url(tree)
    stage.wait_handled(200)

    samples, _ = scrape(base)
    lag = total(samples, "elsa_consumer_lag_messages")
    assert 0 < lag <= 1_200
    assert total(samples, "elsa_messages_in_progress") > 0
    assert status(base, "/readyz") == 200
    stage.wait_all()
    until(lambda: total(scrape(base)[0], "elsa_consumer_lag_messages") == 0, "no lag is left")
    samples, _ = scrape(base)
    assert total(samples, "elsa_messages_processed_total", outcome="ok") == 1_200
    assert total(samples, "elsa_messages_in_progress") == 0
    assert tree.stop() == exits.OK


def test_no_counter_falls_when_a_process_is_killed(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.produce(12_000, seconds=0.001)
    tree = stage.start("--metrics-port", "0", "--processes", "2")
    base = url(tree)
    tree.wait_ready(2)
    highest: Samples = {}
    fallen = []

    def look() -> None:
        samples, counters = scrape(base)
        fallen.extend([key for key in highest if samples.get(key, -1) < highest[key]])
        highest.update({key: samples[key] for key in counters})

    stage.wait_handled(3_000)
    look()
    os.kill(tree.workers()[0], signal.SIGKILL)
    for goal in range(3_200, 12_000, 800):
        look()
        stage.wait_handled(goal)
    tree.wait_ready(3)
    stage.wait_all()
    look()
    samples, _ = scrape(base)
    assert tree.stop() == exits.OK

    assert fallen == []
    assert total(samples, "elsa_worker_restarts_total") == 1


def test_the_gauges_of_a_killed_process_vanish_with_it_and_its_counts_stay(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.produce(600, seconds=0.001)
    tree = stage.start("--metrics-port", "0", "--processes", "2")
    base = url(tree)
    tree.wait_ready(2)
    stage.wait_all()

    def partitions() -> list[str]:
        samples, _ = scrape(base)
        return sorted(dict(labels)["partition"] for name, labels in samples if name == "elsa_consumer_lag_messages")

    until(lambda: partitions() == list("012345"), "every partition is shown")
    before = total(scrape(base)[0], "elsa_messages_processed_total")
    os.kill(tree.workers()[0], signal.SIGKILL)
    # its successor has to be imported before it owns anything
    until(lambda: len(partitions()) == 3, "only what the other process owns is left")
    assert total(scrape(base)[0], "elsa_messages_processed_total") == before
    until(lambda: partitions() == list("012345"), "the successor shows the rest")
    assert tree.stop() == exits.OK
