"""A real Prometheus watches real workers on a real Kafka; every panel has an answer, and alerts fire.

The workers are under load with retries, dead letters, delayed messages (some that nobody can deliver), batches and a
periodic task; a second worker joins; a quota slows one down; a topic is deleted under its readers; a partition is
paused by `elsa control pause`; at the end nobody is left. `make pictures` keeps the answers.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.dashboards.expressions import Expression, filled, of_boards

from .prometheus import promtool, require_prometheus
from .story import picture, play

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.testing.kafka import KafkaService

    from .story import Story

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(420)]

#: where `make pictures` wants the answers
ANSWERS = "BOARD_ANSWERS"
EXPRESSIONS = list(of_boards())
#: what boards show while there is no series, which is no answer here
ZERO = " or vector(0)"


@pytest.fixture(scope="module")
def story(elsa_kafka: KafkaService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    require_prometheus()
    with play(elsa_kafka.bootstrap, tmp_path_factory.mktemp("story")) as told:
        if os.environ.get(ANSWERS):
            path = Path(os.environ[ANSWERS])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(picture(told, [answer(told, each) for each in EXPRESSIONS]))
        yield told


def answer(story: Story, expression: Expression) -> dict[str, Any]:
    """What Prometheus says to one expression, filled in as Grafana would for a scrape each second."""
    whole = f"{max(30, round(story.end - story.start))}s"
    text = filled(expression.text, {"$__rate_interval": "5s", "$__range": whole})
    # a deploy is one when nothing of that version ran a minute ago; nobody waits for that here
    text = text.replace("offset 1m", "offset 2s").replace("[1m]", "[5s]").replace("[30m]", "[30s]")
    found = (
        story.prometheus.query(text, story.end)
        if expression.is_instant
        else story.prometheus.course(text, story.start, story.end)
    )
    return {"place": expression.place, "legend": expression.legend, "series": found}


def numbers(series: dict[str, Any]) -> list[float]:
    pairs = series["values"] if "values" in series else [series["value"]]
    return [float(value) for _, value in pairs]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=[f"{n} {each.place}" for n, each in enumerate(EXPRESSIONS)])
def test_every_expression_has_an_answer(story: Story, expression: Expression) -> None:
    expression = replace(expression, text=expression.text.replace(ZERO, ""))
    found = answer(story, expression)["series"]

    assert any(not math.isnan(number) for series in found for number in numbers(series)), expression.text


def test_no_series_of_a_board_is_negative(story: Story) -> None:
    for expression in EXPRESSIONS:
        for series in answer(story, expression)["series"]:
            assert not any(number < -0.001 for number in numbers(series)), (expression.place, series["metric"])


@pytest.mark.parametrize("alert", ["ElsaDeadLetters", "ElsaPartitionStalled", "ElsaGroupHasNoWorkers"])
def test_an_alert_fires_live(story: Story, alert: str) -> None:
    assert alert in story.fired


def test_the_stalled_partition_is_the_paused_one(story: Story) -> None:
    firing = 'ALERTS{alertname="ElsaPartitionStalled",alertstate="firing"}'
    found = {each["metric"]["partition"] for each in story.prometheus.query(firing, story.end)}

    assert "3" in found


def test_every_rule_was_evaluated_without_complaint(story: Story) -> None:
    assert story.prometheus.complaints() == []


def test_promtool_finds_nothing_to_say_about_the_metrics(story: Story) -> None:
    for page in story.pages.values():
        checked = promtool("check", "metrics", text=page)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_values_of_variables_are_found(story: Story) -> None:
    for name, label in (
        ("elsa_build_info", "job"),
        ("elsa_partitions_assigned", "group"),
        ("elsa_partitions_assigned", "topic"),
        ("elsa_messages_processed_total", "handler"),
    ):
        found = story.prometheus.get(f"label/{label}/values", **{"match[]": name})
        assert found
        assert not re.search("^$", "\n".join(found), re.MULTILINE)
