from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from elsa import exits
from elsa.cli.demo import command
from elsa.demo import run as demo_run
from elsa.errors import WorkerError
from tests.unit.cli.demo_states import STAGE, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.demo.run import Plan, Snapshot, View


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that were handed to `run`, which shows one state and ends."""
    found: list[Plan] = []

    def run(plan: Plan, view: View) -> Snapshot:
        found.append(plan)
        view.started(STAGE)
        view.show(snapshot(counted=100))
        return snapshot(counted=100)

    monkeypatch.setattr(demo_run, "run", run)
    return found


def failing(error: BaseException, *, is_started: bool) -> Callable[[Plan, View], Any]:
    def run(_: Plan, view: View) -> Any:
        if is_started:
            view.started(STAGE)
        raise error

    return run


def test_without_options_it_runs_at_a_rate_until_it_is_stopped(plans: list[Plan]) -> None:
    result = CliRunner().invoke(command, [], standalone_mode=False)

    assert result.return_value == exits.OK
    assert plans == [demo_run.Plan(rate=2_000, processes=1, messages=None, seconds=None)]


def test_options_become_the_plan(plans: list[Plan]) -> None:
    arguments = ["--fast", "--processes", "2", "--messages", "500", "--for", "2.5"]
    CliRunner().invoke(command, arguments, standalone_mode=False)

    assert plans == [demo_run.Plan(rate=None, processes=2, messages=500, seconds=2.5)]


def test_fast_and_a_rate_contradict_each_other(plans: list[Plan]) -> None:
    result = CliRunner().invoke(command, ["--fast", "--rate", "10"])

    assert result.exit_code == exits.USAGE
    assert "give --rate or --fast, not both" in result.output
    assert plans == []


@pytest.mark.parametrize("arguments", [["--rate", "0"], ["--processes", "0"], ["--messages", "0"], ["--for", "0"]])
def test_nothing_can_be_zero(plans: list[Plan], arguments: list[str]) -> None:
    assert CliRunner().invoke(command, arguments).exit_code == exits.USAGE
    assert plans == []


def test_json_lines_are_one_object_each(plans: list[Plan]) -> None:
    result = CliRunner().invoke(command, ["--json"], standalone_mode=False)

    assert len(plans) == 1
    assert [json.loads(line)["event"] for line in result.output.splitlines()] == ["started", "progress", "end"]


def test_ctrl_c_ends_a_running_demo_as_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_run, "run", failing(KeyboardInterrupt(), is_started=True))

    assert CliRunner().invoke(command, [], standalone_mode=False).return_value == exits.OK


def test_ctrl_c_before_anything_runs_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_run, "run", failing(KeyboardInterrupt(), is_started=False))

    assert CliRunner().invoke(command, [], standalone_mode=False).return_value == exits.INTERRUPTED


def test_an_error_reaches_the_root_command(monkeypatch: pytest.MonkeyPatch) -> None:
    error = WorkerError("the worker has ended")
    monkeypatch.setattr(demo_run, "run", failing(error, is_started=True))

    assert CliRunner().invoke(command, [], standalone_mode=False).exception is error
