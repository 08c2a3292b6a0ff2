from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from elsa.cli import demo_views, output
from elsa.cli.demo_views import JsonView, LineView, TableView, choose_view
from tests.unit.cli.demo_states import MOCK, STAGE, snapshot


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a person's terminal would show."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, height=60, color_system=None)
    monkeypatch.setattr(output, "console", lambda: console)
    return text


def test_a_person_sees_a_table_and_a_pipe_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    assert isinstance(choose_view(as_json=False), TableView)
    monkeypatch.setattr(output, "is_terminal", lambda: False)
    assert isinstance(choose_view(as_json=False), LineView)
    assert isinstance(choose_view(as_json=True), JsonView)


def test_lines_tell_what_runs_what_is_counted_and_what_it_came_to(capsys: pytest.CaptureFixture[str]) -> None:
    with LineView() as view:
        view.started(STAGE)
        view.show(snapshot(400))
        view.show(snapshot(1_000, seconds=11.0))

    shown = capsys.readouterr().out
    assert "Apache Kafka answers at 127.0.0.1:9092" in shown
    assert "runs as process 41, log in worker.log" in shown
    assert "metrics at http://127.0.0.1:8000/metrics" in shown
    assert (
        "counted 400 of 1,000 flights, 50/s, lag 7, delivered again 5, worker processes 42: 50/s\n"
        "counted 1,000 of 1,000 flights" in shown
    )
    assert "UA United Air Lines    1,000     1.1 min  55.6%       50.0%      10.0%" in shown
    assert "1,000 counted in 11.0 s, 5 delivered again and not counted twice; nothing was lost" in shown


def test_lines_come_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    view = LineView()
    for tenth in range(20):
        view.show(snapshot(1, seconds=tenth / 10))

    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_demo_that_was_stopped_early_does_not_claim_that_nothing_was_lost(capsys: pytest.CaptureFixture[str]) -> None:
    with LineView() as view:
        view.show(snapshot(999))

    shown = capsys.readouterr().out
    assert "stopped before the rest was counted" in shown
    assert "nothing was lost" not in shown


def test_a_demo_that_never_started_ends_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    with LineView(), JsonView():
        pass

    assert capsys.readouterr().out == ""


def test_what_is_not_known_yet_is_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    LineView().show(snapshot(0, lag=None))

    assert "lag ?, delivered again 5, worker processes 42: 50/s" in capsys.readouterr().out


def test_the_mock_cluster_is_not_called_kafka(capsys: pytest.CaptureFixture[str]) -> None:
    LineView().started(MOCK)

    assert "librdkafka's mock cluster answers at" in capsys.readouterr().out


def test_notes_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    JsonView().note("no Java")
    captured = capsys.readouterr()

    assert captured.out == ""
    assert "no Java" in captured.err


def test_json_lines_hold_the_facts(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonView() as view:
        view.started(STAGE)
        view.show(snapshot(1_000))

    started, progress, end = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert started == {
        "event": "started",
        "bootstrap": "127.0.0.1:9092",
        "mock": False,
        "metrics": "http://127.0.0.1:8000/metrics",
        "worker": 41,
        "log": "worker.log",
        "flights": 1_000,
    }
    assert progress == {
        "event": "progress",
        "seconds": 10.0,
        "published": 1_000,
        "total": 1_000,
        "counted": 1_000,
        "aircraft": 3,
        "repeats": 5,
        "per_second": 50.0,
        "lag": 7,
        "workers": {"42": 50.0},
    }
    assert end["complete"] is True
    assert end["carriers"] == {
        "UA": {"flights": 1_000, "cancelled": 100, "late": 500, "late_again": 250, "delay": 1_000}
    }


def test_the_table_shows_carriers_and_what_to_try(screen: io.StringIO) -> None:
    with TableView() as view:
        view.started(STAGE)
        view.show(snapshot(400))
        drawn = screen.getvalue()

    assert "400 of 1,000 flights" in drawn
    assert "UA United Air Lines" in drawn
    assert "kill -9 42" in drawn
    assert "export ELSA_BROKERS=127.0.0.1:9092" in drawn
    assert "elsa groups lag flights" in drawn
    assert "curl http://127.0.0.1:8000/metrics" in drawn
    assert "stopped before the rest" in screen.getvalue()


def test_nothing_is_suggested_that_the_mock_cluster_cannot_do(screen: io.StringIO) -> None:
    with TableView() as view:
        view.started(MOCK)
        view.show(snapshot(400))

    assert "elsa fetch flights" in screen.getvalue()
    assert "elsa groups" not in screen.getvalue()


def test_shares_of_nothing_are_dashes() -> None:
    state = snapshot(0)
    (code, totals) = state.standing.carriers[0]

    assert demo_views._row(code, totals) == ("UA United Air Lines", "0", "-", "-", "-", "-")
