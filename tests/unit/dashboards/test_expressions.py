"""Every metric and every label that boards and rules ask for is in the catalogue."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import promql_parser
import pytest

from dashboards.alarms import Places
from dashboards.board import model
from dashboards.build import boards, files
from dashboards.query import SURROUNDINGS, bare, labels_of, pick
from dashboards.rules import RECORDED
from dashboards.thresholds import Thresholds
from elsa.observe.catalogue import CATALOGUE

from .expressions import FILLED, Expression, filled, grouped, of_boards, of_rules, selectors

if TYPE_CHECKING:
    from collections.abc import Iterator

#: what Prometheus adds, and its own series of alerts
SCRAPED = {"job", "instance"}
ALERTS = {"alertname", "alertstate", "severity", "group", "topic"}


def every() -> Iterator[Expression]:
    yield from of_boards()
    for name, text in files(Thresholds(), Places()).items():
        if name.endswith(".yaml"):
            yield from of_rules(text)


def known(name: str) -> set[str]:
    """The labels that series of this name have."""
    if name == "ALERTS":
        return ALERTS
    if name in RECORDED:
        return set(RECORDED[name])
    if name in CATALOGUE or name in SURROUNDINGS:
        assert name in SURROUNDINGS or CATALOGUE[name].kind != "histogram", f"{name} has only _bucket, _sum, _count"
        return {*labels_of(name), *SCRAPED}
    whole, _, part = name.rpartition("_")
    assert whole in CATALOGUE, f"{name} is not in the catalogue"
    assert CATALOGUE[whole].kind == "histogram", f"{whole} is no histogram"
    assert part in {"bucket", "sum", "count"}
    return {*labels_of(whole), *SCRAPED, *({"le"} if part == "bucket" else ())}


EVERY = list(every())


@pytest.mark.parametrize("expression", EVERY, ids=[f"{n} {each.place}" for n, each in enumerate(EVERY)])
def test_metrics_and_labels_are_in_the_catalogue(expression: Expression) -> None:
    parsed = promql_parser.parse(filled(expression.text, FILLED))
    found = list(selectors(parsed))
    assert found
    for name, labels in found:
        assert set(labels) <= known(name), name
    for labels, names in grouped(parsed):
        for label in labels:
            assert any(label in known(name) for name in names), f"no series under `by` has {label}"


@pytest.mark.parametrize("expression", EVERY, ids=[f"{n} {each.place}" for n, each in enumerate(EVERY)])
def test_a_legend_names_labels_that_the_answer_has(expression: Expression) -> None:
    parsed = promql_parser.parse(filled(expression.text, FILLED))
    answered = {label for labels, _ in grouped(parsed) for label in labels} | {
        label for name, _ in selectors(parsed) if name in RECORDED for label in RECORDED[name]
    }
    assert set(re.findall(r"{{(\w+)}}", expression.legend)) <= answered


def test_every_board_and_rule_is_looked_at() -> None:
    places = {each.place.partition(":")[0] for each in EVERY}
    assert {"overview", "handlers", "topics", "runtime", "scheduler"} <= places
    assert len([place for place in places if place.startswith("Elsa")]) == 12
    assert set(RECORDED) <= {each.place for each in EVERY}


def test_variables_ask_for_what_is_in_the_catalogue() -> None:
    for board in boards(Thresholds()):
        templating = model(board).templating
        assert templating is not None
        for variable in templating.list_val or []:
            if isinstance(variable.query, dict):
                question = re.fullmatch(r"label_values\((.*), (\w+)\)", str(variable.query["query"]))
                assert question
                names = re.findall(r"elsa_\w+", question[1])
                assert names
                assert all(question[2] in known(name) for name in names)


def test_an_unknown_metric_or_label_is_an_error_when_boards_are_made() -> None:
    with pytest.raises(KeyError):
        pick("elsa_no_such_metric")
    with pytest.raises(ValueError, match="elsa_commits_total has no label topic; it has group, outcome"):
        bare("elsa_commits_total", topic="orders")


def test_a_partition_is_never_added_up_before_its_owners_are() -> None:
    gauges = [name for name, metric in CATALOGUE.items() if "partition" in metric.labels]
    for expression in EVERY:
        for name in gauges:
            assert not re.search(rf"(sum|avg|count)( by \([^)]*\))? \(+{name}\b", expression.text), expression.place
