"""The text is what prometheus_client's own parsers read and its own writer writes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Info, Summary, generate_latest
from prometheus_client import Histogram as ClientHistogram
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from elsa.clock import SYSTEM
from elsa.observe import catalogue
from elsa.observe.catalogue import Metric
from elsa.observe.exposition import Page, from_prometheus, number, render
from elsa.observe.instruments import Histogram
from elsa.observe.metrics import PrometheusObserver


def users_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("jobs", 'Jobs with a \\ and\na "line".', ["queue"], registry=registry).labels('a"b\\c\nd').inc(2.5)
    Gauge("depth", "Depth.", registry=registry).set(-math.inf)
    ClientHistogram("took", "Took.", buckets=(0.1, 1.0), registry=registry).observe(0.5)
    Summary("size", "Size.", registry=registry).observe(3)
    Info("build", "Build.", registry=registry).info({"version": "1"})
    Enum("mode", "Mode.", states=["on", "off"], registry=registry).state("off")
    return registry


def readable(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_a_registry_reads_the_same_as_through_prometheus_clients_own_writer() -> None:
    registry = users_registry()

    text = render(from_prometheus(registry.collect()))

    assert readable(generate_latest(registry)) == readable(text)
    assert b"_created" not in text


def test_openmetrics_is_read_by_the_strict_parser() -> None:
    families = [each for each in from_prometheus(users_registry().collect()) if each[0] != "mode"]

    text = render(families, openmetrics=True).decode()
    parsed = {family.name: family for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]  # theirs

    assert parsed["jobs"].type == "counter"
    assert parsed["jobs"].documentation == 'Jobs with a \\ and\na "line".'
    assert parsed["jobs"].samples[0].value == 2.5


def test_a_histogram_is_written_cumulatively() -> None:
    page, histogram = Page(), Histogram(catalogue.COMMIT_DURATION.buckets)
    for value in (0.001, 0.02, 99.0):
        histogram.observe(value)
    page.histogram(catalogue.COMMIT_DURATION, ("billing",), histogram)

    samples = readable(render(page.families()))

    name = catalogue.COMMIT_DURATION.name
    assert samples[f"{name}_bucket", (("group", "billing"), ("le", "0.005"))] == 1
    assert samples[f"{name}_bucket", (("group", "billing"), ("le", "10.0"))] == 2
    assert samples[f"{name}_bucket", (("group", "billing"), ("le", "+Inf"))] == 3
    assert samples[f"{name}_count", (("group", "billing"),)] == 3


TRACE = "0af7651916cd43dd8448eb211c80319c"


def told(*, traces: dict[float, str]) -> PrometheusObserver:
    """An observer that has heard of calls: so many seconds, of that trace."""
    observer = PrometheusObserver()
    handler = observer.handler("billing", "orders", "shop.bill")
    for seconds, trace in traces.items():
        handler.sampled(seconds, trace)
    handler.finished([*traces, 0.001], {"ok": len(traces) + 1})
    return observer


def openmetrics(text: bytes) -> list[Any]:
    """All samples, as the strict parser reads them."""
    families = parse_openmetrics(text.decode())  # type: ignore[no-untyped-call]  # theirs
    return [sample for family in families for sample in family.samples]


def test_an_exemplar_stands_behind_its_bucket_in_openmetrics_alone() -> None:
    families = told(traces={0.06: TRACE, 40.0: "a" * 32}).families()

    found = {each.labels["le"]: each for each in openmetrics(render(families, openmetrics=True)) if each.exemplar}

    assert {le: each.exemplar.labels for le, each in found.items()} == {
        "0.075": {"trace_id": TRACE},
        "60.0": {"trace_id": "a" * 32},
    }
    assert found["0.075"].exemplar.value == 0.06
    assert float(found["0.075"].exemplar.timestamp) == pytest.approx(SYSTEM.now(), abs=600)
    assert {each.name for each in found.values()} == {"elsa_process_duration_seconds_bucket"}
    assert b"trace_id" not in render(families)


def test_a_bucket_that_has_counted_nothing_has_no_exemplar() -> None:
    observer = PrometheusObserver()
    observer.handler("billing", "orders", "shop.bill").sampled(0.06, TRACE)

    assert b"trace_id" not in render(observer.families(), openmetrics=True)


def test_series_have_the_same_names_in_both_formats() -> None:
    families = [*told(traces={0.06: TRACE}).families(), *from_prometheus(users_registry().collect())]
    families = [each for each in families if each[0] != "mode"]

    text, strict = render(families), render(families, openmetrics=True)

    assert strict.endswith(b"# EOF\n")
    assert {name for name, _ in readable(text)} == {sample.name for sample in openmetrics(strict)}
    assert b"_created" not in strict


def test_exemplars_of_users_and_of_a_registry_pass_through() -> None:
    registry = CollectorRegistry()
    ClientHistogram("took", "Took.", registry=registry).observe(0.3, {"trace_id": TRACE})
    observer = told(traces={0.06: "b" * 32})
    registry.register(observer)

    ours = openmetrics(render(from_prometheus(registry.collect()), openmetrics=True))
    theirs = openmetrics(generate_openmetrics(registry))  # type: ignore[no-untyped-call]  # theirs

    for samples in (ours, theirs):
        found = {each.name: each.exemplar.labels for each in samples if each.exemplar}
        assert found == {
            "took_bucket": {"trace_id": TRACE},
            "elsa_process_duration_seconds_bucket": {"trace_id": "b" * 32},
        }


def test_a_metric_outside_the_catalogue_is_refused_by_name() -> None:
    page = Page()
    page.add(Metric("elsa_invented_total", "counter", (), "Invented."), (), 1)

    with pytest.raises(KeyError, match=r"elsa_invented_total are not in elsa\.observe\.catalogue"):
        page.families()


def test_a_missing_label_value_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        Page().add(catalogue.SENT, ("orders",), 1)


@pytest.mark.parametrize(("value", "text"), [(1, "1.0"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN")])
def test_numbers_are_written_as_prometheus_does(value: float, text: str) -> None:
    assert text == number(value)
