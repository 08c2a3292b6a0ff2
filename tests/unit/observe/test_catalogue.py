"""The catalogue is the only list of metrics, and well formed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from elsa.observe import catalogue
from elsa.observe.catalogue import CATALOGUE, Metric


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda metric: metric.name)
def test_names_and_units_follow_the_rules_of_prometheus(metric: Metric) -> None:
    assert re.fullmatch(r"elsa_[a-z_]+[a-z]", metric.name)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert (metric.kind == "histogram") == bool(metric.buckets)
    assert metric.kind == "gauge" or metric.merge == "sum"
    assert metric.help.endswith(".")
    assert list(metric.buckets) == sorted(set(metric.buckets))


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda metric: metric.name)
def test_only_gauges_have_a_partition_and_no_metric_has_a_key_or_an_offset(metric: Metric) -> None:
    assert "partition" not in metric.labels or metric.kind == "gauge"
    assert not {"key", "offset", "id", "user", "text"} & set(metric.labels)
    assert set(metric.values) <= set(metric.labels)


def test_a_name_is_declared_once() -> None:
    with pytest.raises(ValueError, match="elsa_messages_sent_total is declared twice"):
        catalogue._metric(catalogue.SENT)


def test_the_table_for_the_documentation_has_a_row_for_every_metric() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "elsa.observe.catalogue"], capture_output=True, text=True, check=True
    ).stdout

    assert [f"`{name}`" for name in CATALOGUE] == [row.split(" | ")[0][2:] for row in printed.splitlines()[2:]]
    assert "`outcome` (ok, error)" in printed
