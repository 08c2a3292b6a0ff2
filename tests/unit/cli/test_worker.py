from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from elsa import exits
from elsa.cli import cli
from elsa.cli.banner import show
from elsa.cli.worker import Listener
from elsa.config import load
from elsa.worker import supervisor
from elsa.worker.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BANNER = {
    "app": "shop",
    "brokers": "localhost:9092",
    "version": "0.1.0",
    "handlers": [
        {
            "name": "shop.bill",
            "topics": ["orders"],
            "group": "billing",
            "executor": "threads",
            "concurrency": 8,
            "batch": 50,
            "retry": "5 attempts",
            "ordering": "partition",
        },
        {"name": "shop.watch", "topics": ["^prices"], "group": None, "executor": "event loop", "concurrency": 100},
    ],
}


class Stub:
    """Stands for the supervisor: what it was made with, and the code it ends with."""

    made: list[Stub]
    code = exits.OK

    def __init__(self, spec: Any, **options: Any) -> None:
        self.spec, self.options = spec, options
        self.processes, self.is_stopping = options["processes"], False
        self.restarts: dict[str, int] = {}
        type(self).made.append(self)

    def start(self) -> None: ...

    def stop(self) -> None:
        self.is_stopping = True

    def run(self) -> int:
        return self.code


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Stub]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ELSA_APP", raising=False)
    monkeypatch.setattr(Stub, "made", [], raising=False)
    monkeypatch.setattr(supervisor, "Supervisor", Stub)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield Stub
    root.handlers[:] = handlers
    root.setLevel(level)


def run(*arguments: str, **env: str) -> Any:
    return CliRunner().invoke(cli, ["worker", *arguments], env=env)


def test_options_become_settings_that_win_over_the_apps_own(stub: type[Stub]) -> None:
    result = run(
        "shop:app", "-c", "4", "-l", "DEBUG", "-Q", "orders, invoices", "-Q", "orders", "-X", "logs", "--processes",
        "3", "--stop-timeout", "5s", "--drain-timeout", "2s", "--json-logs", "-b", "kafka:9092", "--group-protocol",
        "consumer", "--set", "commit_every=10", "--burst",
    )  # fmt: skip
    made = stub.made[0]

    assert result.exit_code == 0, result.output
    assert made.spec.target == "shop:app"
    assert made.spec.options == {
        "concurrency": 4,
        "log_level": "debug",
        "processes": 3,
        "stop_timeout": "5s",
        "drain_timeout": "2s",
        "json_logs": True,
        "brokers": "kafka:9092",
        "group_protocol": "consumer",
        "commit_every": "10",
    }
    assert (made.spec.topics, made.spec.exclude) == (["orders", "invoices"], ["logs"])
    assert made.spec.burst
    assert (made.options["processes"], made.options["stop_timeout"]) == (3, 5.0)


def test_what_was_not_asked_for_is_left_to_the_app(stub: type[Stub]) -> None:
    run("shop:app", ELSA_LOG_LEVEL="warning", ELSA_PROCESSES="2")
    made = stub.made[0]

    assert made.spec.options == {}
    assert (made.spec.log_level, made.spec.json_logs) == ("warning", False)
    assert made.options["processes"] == 2


@pytest.mark.parametrize(("arguments", "env"), [(["-A", "shop:app"], {}), ([], {"ELSA_APP": "shop:app"})])
def test_the_app_may_come_from_an_option_or_the_environment(
    stub: type[Stub], arguments: list[str], env: dict[str, str]
) -> None:
    run(*arguments, **env)

    assert stub.made[0].spec.target == "shop:app"


def test_the_argument_wins_over_the_environment(stub: type[Stub]) -> None:
    run("bank:app", ELSA_APP="shop:app")

    assert stub.made[0].spec.target == "bank:app"


def test_two_apps_are_refused(stub: type[Stub]) -> None:
    result = run("bank:app", "-A", "shop:app")

    assert result.exit_code == exits.USAGE
    assert "bank:app and -A shop:app are two apps" in result.output
    assert not stub.made


def test_without_an_app_the_ways_to_name_one_are_told(stub: type[Stub]) -> None:
    result = run()

    assert result.exit_code == exits.USAGE
    assert "`elsa worker module:app`, -A module:app or ELSA_APP=module:app" in result.output
    assert not stub.made


def test_a_wrong_setting_is_refused_before_any_process_starts(stub: type[Stub]) -> None:
    result = run("shop:app", "--set", "comit_every=3")

    assert result.exit_code == exits.USAGE
    assert "did you mean 'commit_every'?" in result.output
    assert not stub.made


def test_fewer_messages_than_processes_start_fewer_processes(stub: type[Stub]) -> None:
    run("shop:app", "--processes", "8", "--max-messages", "3")

    assert stub.made[0].options["processes"] == stub.made[0].spec.options["processes"] == 3


def test_the_supervisors_exit_code_is_the_commands(stub: type[Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stub, "code", exits.FORCED)

    assert run("shop:app").exit_code == exits.FORCED


def test_a_metrics_port_that_is_taken_is_told_and_ends_the_worker(stub: type[Stub]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("shop:app", "--metrics-port", str(taken.getsockname()[1]))

    assert result.exit_code == exits.USAGE
    assert "the port is taken" in result.output
    assert stub.made[0].is_stopping


def listen(**settings: Any) -> tuple[Listener, Any]:
    listener = Listener(load(settings, env={}).settings)
    made = Stub.__new__(Stub)
    made.processes, made.is_stopping, made.restarts = 2, False, {}
    return listener, made


def hello() -> Event:
    return Event("hello", logging.DEBUG, "worker process loaded the app", {"banner": BANNER, "settings": {}})


def test_the_banner_is_shown_once_and_events_before_the_logs_are_kept(
    stub: type[Stub], capsys: pytest.CaptureFixture[str]
) -> None:
    listener, made = listen()
    listener.take(hello())
    assert capsys.readouterr().err == ""
    listener.attach(made)
    listener.take(hello())

    assert capsys.readouterr().err.count("elsa 0.1.0 worker shop") == 1


def test_with_json_logs_the_banner_is_one_line_of_json(stub: type[Stub], capsys: pytest.CaptureFixture[str]) -> None:
    listener, made = listen(json_logs=True)
    listener.attach(made)
    listener.take(hello())
    line = json.loads(capsys.readouterr().err)

    assert line["event"] == "worker_started"
    assert line["worker"]["handlers"][0]["name"] == "shop.bill"
    assert line["worker"]["processes"] == 2


def test_a_failed_start_is_told_in_the_processs_own_words(stub: type[Stub], capsys: pytest.CaptureFixture[str]) -> None:
    listener, made = listen()
    listener.attach(made)
    text = "there is no module 'shop'\n  hint: did you mean 'shops'?"
    listener.take(Event("failed", logging.ERROR, "a worker process could not start", {"worker": 0, "error": text}))

    assert capsys.readouterr().err == f"error: {text}\n"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_banner_names_what_runs_where_and_how_to_stop_it(
    *, is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show(BANNER, pid=42, processes=2, metrics="http://127.0.0.1:9464/metrics", is_terminal=is_terminal)
    shown = capsys.readouterr().err

    for part in (
        "elsa 0.1.0 worker shop", "localhost:9092", "2 (supervisor's pid 42)", "http://127.0.0.1:9464/metrics",
        "kill -HUP 42", "shop.bill", "orders", "billing", "threads x8, batches of 50", "5 attempts", "shop.watch",
        "none (standalone)", "event loop x100",
    ):  # fmt: skip
        assert part in shown


@pytest.mark.parametrize("is_terminal", [False, True])
def test_an_app_without_handlers_is_told_so(*, is_terminal: bool, capsys: pytest.CaptureFixture[str]) -> None:
    show({"app": "shop"}, pid=42, processes=1, metrics=None, is_terminal=is_terminal)
    shown = capsys.readouterr().err

    assert "the app declares no handler that was asked for" in shown
    assert "--metrics-port 9464 serves them" in shown
