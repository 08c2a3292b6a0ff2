"""The catalogue is the only list of metrics, and well formed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from elsa.observe import catalogue
from elsa.observe.catalogue import CATALOGUE, Metric
from elsa.observe.reference import page

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "dashboards" / "metrics.md"
#: names of that form which are something else: fixtures, and context variables
NO_METRICS = {"elsa_kafka", "elsa_mock_kafka", "elsa_secure_kafka", "elsa_context", "elsa_creates"}
#: labels that Prometheus puts there, or a histogram has
OF_SCRAPES = {"cluster", "instance", "job", "le", "namespace", "pod"}


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

    rows = [row for row in printed.splitlines() if row.startswith("| `")]
    assert [f"`{name}`" for name in CATALOGUE] == [row.split(" | ")[0][2:] for row in rows]
    assert "`outcome` (ok, error)" in printed
    assert PAGE.read_text(encoding="utf-8") == printed, "make it anew: python -m elsa.observe.catalogue > that file"


def test_the_documentation_says_which_metrics_no_worker_has() -> None:
    said, _, _ = page().partition(" come from `elsa monitor` alone")

    assert re.findall("`(elsa_[a-z_]+)`", said) == [metric.name for metric in catalogue.OF_MONITOR]


def test_no_metric_is_named_that_does_not_exist() -> None:
    unknown = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in _texts()
        for name in re.findall(r"\belsa_[a-z0-9_]+", path.read_text(encoding="utf-8"))
        if not is_known(name)
    }

    assert not unknown


def test_no_label_is_asked_for_that_its_metric_does_not_have() -> None:
    unknown = {
        f"{path.relative_to(ROOT)}: {name}{{{label}}}"
        for path in _texts()
        for name, selector in re.findall(r"\b(elsa_[a-z_]+)\{([^{}]*)\}", path.read_text(encoding="utf-8"))
        for label in re.findall(r'([a-zA-Z_]+) *(?:=~|!~|!=|=) *\\?["\']', selector)
        if is_known(name) and label not in {*_metric_of(name).labels, *OF_SCRAPES}
    }

    assert not unknown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("elsa_commits_total", True),
        ("elsa_commit_duration_seconds_bucket", True),
        ("elsa_commits", False),
        ("elsa_commits_total_sum", False),
        ("elsa_lag", False),
    ],
)
def test_what_counts_as_known(name: str, expected: bool) -> None:  # noqa: FBT001 - a parameter
    assert is_known(name) is expected


def is_known(name: str) -> bool:
    if name in CATALOGUE or name in NO_METRICS:
        return True
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base in CATALOGUE and CATALOGUE[base].kind == "histogram"


def _metric_of(name: str) -> Metric:
    return CATALOGUE.get(name) or CATALOGUE[re.sub(r"_(bucket|sum|count)$", "", name)]


def _texts() -> Iterator[Path]:
    """The code, and whatever is written for people, boards and alerts."""
    for folder in ("elsa", "workers", "dashboards", "deploy", "tests/benchmarks"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".json", ".md", ".py", ".toml", ".yaml", ".yml"} and path.is_file():
                yield path
    yield from sorted(ROOT.glob("*.md"))
