"""Whose buckets a histogram gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.errors import ConfigError
from elsa.observe import catalogue
from elsa.observe.buckets import Buckets
from elsa.observe.catalogue import CATALOGUE, Metric
from elsa.observe.metrics import PrometheusObserver, observer_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.observe.exposition import Family

HISTOGRAMS = [metric for metric in CATALOGUE.values() if metric.kind == "histogram"]


@pytest.fixture
def app() -> Iterator[elsa.App]:
    made = elsa.App("buckets", metrics_buckets={"elsa_process_duration_seconds": [1, 2]})
    yield made
    made.stop()


@pytest.mark.parametrize("metric", HISTOGRAMS, ids=lambda metric: metric.name)
def test_coarse_histograms_have_half_the_buckets_and_the_same_largest(metric: Metric) -> None:
    coarse = Buckets("coarse").of(metric)

    assert len(coarse) == (len(metric.buckets) + 1) // 2
    assert set(coarse) <= set(metric.buckets)
    assert coarse[-1] == metric.buckets[-1]
    assert Buckets().of(metric) == metric.buckets


@pytest.mark.parametrize("name", ["elsa_process_durations", "elsa_commits_total"])
def test_what_is_no_histogram_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"metrics_buckets names '{name}', which is no histogram"):
        Buckets(own={name: [1.0]})


def test_a_handlers_buckets_come_before_the_apps_and_those_before_the_catalogues(app: elsa.App) -> None:
    @app.handler("orders", name="slow", buckets=[60, 600])
    def slow(body: bytes) -> None:
        """Never called."""

    observer = observer_of(app)
    for name in ("slow", "other"):
        observer.handler("g", "orders", name).finished([90.0], {"ok": 1})
    observer.group("g").committed("ok", 0.1, {})
    families = observer.families()

    assert bounds(families, "elsa_process_duration_seconds", handler="slow") == ["60.0", "600.0", "+Inf"]
    assert bounds(families, "elsa_process_duration_seconds", handler="other") == ["1.0", "2.0", "+Inf"]
    assert len(bounds(families, "elsa_commit_duration_seconds")) == len(catalogue.FAST) + 1


def test_tasks_of_one_topic_have_their_own(app: elsa.App) -> None:
    @app.task(topic="jobs", name="one", buckets=[1])
    def one() -> None:
        """Never called."""

    @app.task(topic="jobs", name="two", buckets=[2, 3])
    def two() -> None:
        """Never called."""

    observer = observer_of(app)
    for name in ("one", "two"):
        observer.handler("g", "jobs", name)

    assert bounds(observer.families(), "elsa_process_duration_seconds", handler="one") == ["1.0", "+Inf"]
    assert bounds(observer.families(), "elsa_process_duration_seconds", handler="two") == ["2.0", "3.0", "+Inf"]


def test_every_histogram_follows_the_setting() -> None:
    observer = PrometheusObserver(buckets=Buckets("coarse"))
    observer.sent("t", "ok", 0.1, None)
    observer.handler("g", "t", "h").batched(3)
    observer.group("g").committed("ok", 0.1, {})
    observer.schedule("s").fired([0.1])
    observer.mover().moved({}, [0.1])
    observer.loop_lagged(0.1)
    families = observer.families()

    for metric in HISTOGRAMS:
        assert len(bounds(families, metric.name)) == (len(metric.buckets) + 1) // 2 + 1, metric.name


def bounds(families: list[Family], name: str, **labels: str) -> list[Any]:
    samples = next(found for family, _, _, found in families if family == name)
    return [
        dict(pairs)["le"]
        for sample, pairs, _, _ in samples
        if sample.endswith("_bucket") and labels.items() <= dict(pairs).items()
    ]
