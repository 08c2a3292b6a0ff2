"""Every PromQL expression of the boards and rules, and what stands in one; for the tests of dashboards/."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import promql_parser
import yaml

from dashboards.board import model
from dashboards.build import boards
from dashboards.thresholds import Thresholds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: what Grafana puts in; durations that PromQL can read
FILLED = {"$__rate_interval": "1m", "$__range": "1h", "$__interval": "30s"}


@dataclass(frozen=True, slots=True)
class Expression:
    """One of them: where it stands, and what its series are called (with labels in {{ }})."""

    place: str
    text: str
    legend: str = ""
    #: its present value alone is asked for
    is_instant: bool = False


def filled(text: str, variables: Mapping[str, str], value: str = ".*") -> str:
    """An expression as Grafana sends it, when "All" is chosen everywhere."""
    for name, duration in variables.items():
        text = text.replace(name, duration)
    for name in ("job", "group", "topic", "handler"):
        text = text.replace(f"${name}", value)
    return text


def of_boards() -> Iterator[Expression]:
    """Those of all panels and annotations."""
    for board in boards(Thresholds()):
        made = model(board)
        for panel in made.panels or []:
            for target in getattr(panel, "targets", None) or []:
                query: Any = target
                place = f"{board.name}: {getattr(panel, 'title', '')}"
                yield Expression(place, query.expr, query.legend_format or "", bool(query.instant))
        assert made.annotations is not None
        for annotation in made.annotations.list_val or []:
            text = f"{annotation.text_format}"
            yield Expression(f"{board.name}: annotation {annotation.name}", annotation.expr or "", text)


def of_rules(text: str) -> Iterator[Expression]:
    """Those of a file of rules."""
    for group in yaml.safe_load(text)["groups"]:
        for rule in group["rules"]:
            yield Expression(rule.get("alert") or rule["record"], rule["expr"])


def selectors(node: Any) -> Iterator[tuple[str, list[str]]]:
    """Each metric that an expression asks for, with the labels that it is matched by."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name or "", [each.name for each in node.matchers.matchers]
    for inner in _inside(node):
        yield from selectors(inner)


def grouped(node: Any) -> Iterator[tuple[list[str], set[str]]]:
    """The labels of each `by`, `on` and `group_left`, with the metrics under them."""
    labels: list[str] = []
    modifier = getattr(node, "modifier", None)
    if isinstance(node, promql_parser.AggregateExpr) and modifier is not None:
        labels = modifier.labels
    elif isinstance(node, promql_parser.BinaryExpr) and modifier is not None and modifier.matching is not None:
        labels = modifier.matching.labels
    if labels:
        yield labels, {name for name, _ in selectors(node)}
    for inner in _inside(node):
        yield from grouped(inner)


def _inside(node: Any) -> Iterator[Any]:
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        inner = getattr(node, name, None)
        if inner is not None:
            yield inner
    yield from getattr(node, "args", None) or []
