"""The pictures of the boards: those that are committed are whole, and what is drawn is what was answered."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest

from dashboards.build import HERE
from dashboards.drawing import POINTS, Frame, Series, heatmap, lines, number, stacked, table, thin
from dashboards.numerals import written
from dashboards.pictures import main

if TYPE_CHECKING:
    from pathlib import Path

BOARDS = sorted(HERE.glob("*.json"))
FRAME = Frame(0, 0, 400, 208, start=0.0, end=60.0)


@pytest.mark.parametrize("board", BOARDS, ids=[path.stem for path in BOARDS])
def test_each_board_has_a_picture_with_all_panels_and_data_in_each(board: Path) -> None:
    path = HERE / "pictures" / f"{board.stem}.svg"
    root = ET.fromstring(path.read_text())
    texts = {each.text for each in root.iter() if each.text}

    assert {panel["title"] for panel in json.loads(board.read_text())["panels"]} <= texts
    assert "no data" not in texts
    assert path.stat().st_size < 60_000
    assert f"](pictures/{path.name})" in (HERE / "README.md").read_text()


def test_answers_become_a_picture_and_what_was_not_answered_says_so(tmp_path: Path) -> None:
    series: list[dict[str, Any]] = [{"metric": {"topic": "orders & more"}, "values": [[0, "1"], [30, "40"], [60, "2"]]}]
    firing = [{"metric": {"alertname": "ElsaDeadLetters", "topic": "orders"}, "value": [60, "1"]}]
    answers = [
        {"place": "overview: Throughput", "legend": "{{topic}}", "series": series},
        {"place": "overview: Alerts that fire", "legend": "", "series": firing},
    ]
    (tmp_path / "answers.json").write_text(json.dumps({"start": 0, "end": 60, "answers": answers}))

    assert main([str(tmp_path / "answers.json"), "--out", str(tmp_path)]) == 0
    texts = [each.text for each in ET.fromstring((tmp_path / "overview.svg").read_text()).iter()]
    assert "orders & more  2/s" in texts
    assert {"alertname", "topic", "ElsaDeadLetters", "orders"} <= set(texts)
    assert "no data" in texts


def test_a_line_is_thinned_cut_at_gaps_and_shows_its_limit() -> None:
    course = [(float(at), float(at % 10)) for at in range(61) if not 20 < at < 40]
    drawn = "\n".join(lines(FRAME, [Series("a", course)], "short", 5.0, is_stacked=False))

    assert len(thin(course, FRAME)) <= POINTS
    assert len(re.findall('class="line"', drawn)) == 2
    assert 'class="limit"' in drawn
    assert 'class="limit"' not in "\n".join(lines(FRAME, [Series("a", course)], "short", 50.0, is_stacked=False))


def test_what_is_no_number_is_left_out() -> None:
    course = [(0.0, float("nan")), (30.0, 1.0), (60.0, float("inf"))]

    assert [value for _, value in thin(course, FRAME)] == [1.0]


def test_stacked_series_lie_on_each_other() -> None:
    assert stacked([[(0.0, 1.0), (1.0, 2.0)], [(1.0, 5.0)], [(0.0, 1.0), (1.0, 1.0)]]) == [
        [(0.0, 1.0), (1.0, 2.0)],
        [(1.0, 7.0)],
        [(0.0, 2.0), (1.0, 8.0)],
    ]


def test_a_number_is_red_from_its_limit_on() -> None:
    series = [Series("oldest", [(0.0, 1.0), (60.0, 300.0)])]

    assert "#c4162a" in "".join(number(FRAME, series, "s", 300.0))
    assert "#c4162a" not in "".join(number(FRAME, series, "s", 301.0))


def test_a_heatmap_shows_what_fell_between_two_bounds() -> None:
    buckets = [Series("0.1", [(0.0, 3.0)]), Series("+Inf", [(0.0, 4.0)]), Series("0.5", [(0.0, 3.0)])]
    drawn = "".join(heatmap(FRAME, buckets, "s"))

    assert len(re.findall('class="heat"', drawn)) == 2
    assert re.findall('opacity="([^"]*)"', drawn) == ["0.6", "1"]


def test_a_table_shows_the_rows_that_fit() -> None:
    drawn = "".join(table(FRAME, ["topic", "Behind"], [[f"t{each}", str(each)] for each in range(30)]))

    assert ">t7<" in drawn
    assert ">t8<" not in drawn


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 s"),
        (0.0042, "s", "4.2 ms"),
        (0.000_003, "s", "3 µs"),
        (90.0, "s", "1.5 min"),
        (7_200.0, "s", "2 h"),
        (0.031, "percentunit", "3.1%"),
        (1_234.0, "ops", "1.23k/s"),
        (55_600_000.0, "bytes", "55.6MB"),
        (480.0, "Bps", "480B/s"),
        (3.0, "short", "3"),
        (float("nan"), "s", "-"),
        (float("inf"), "s", "+Inf"),
    ],
)
def test_numbers_carry_their_unit(value: float, unit: str, text: str) -> None:
    assert written(value, unit) == text
