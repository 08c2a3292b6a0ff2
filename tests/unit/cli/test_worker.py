from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from elsa import exits
from elsa.cli import cli
from elsa.cli.banner import show
from elsa.worker import reload
from tests.unit.cli.supervisors import BANNER

if TYPE_CHECKING:
    from tests.unit.cli.supervisors import Stub


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


def watched(monkeypatch: pytest.MonkeyPatch) -> list[list[Path]]:
    """The folders that are watched instead of watching them."""
    found: list[list[Path]] = []

    class Watcher:
        def __init__(self, folders: list[Path], _on_change: Any) -> None:
            found.append(list(folders))

        def start(self) -> None: ...

        def stop(self) -> None: ...

    monkeypatch.setattr(reload, "FileWatcher", Watcher)
    return found


def test_a_reload_watches_the_current_folder_and_outlives_broken_code(
    stub: type[Stub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders = watched(monkeypatch)
    result = run("shop:app", "--reload")

    assert result.exit_code == 0, result.output
    assert folders == [[tmp_path]]
    assert stub.made[0].options["waits_for_code"]


def test_folders_that_are_named_are_watched_instead(
    stub: type[Stub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders = watched(monkeypatch)
    for name in ("src", "lib"):
        (tmp_path / name).mkdir()
    run("shop:app", "--reload", "--reload-dir", "src", "--reload-dir", str(tmp_path / "lib"))

    assert folders == [[Path("src"), tmp_path / "lib"]]


def test_without_reload_nothing_is_watched(stub: type[Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    folders = watched(monkeypatch)
    run("shop:app")

    assert folders == []
    assert not stub.made[0].options["waits_for_code"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--reload-dir", "."], "add --reload"),
        (["--reload", "--reload-dir", "nowhere"], "'nowhere' does not exist"),
        (["--reload", "--burst"], "--reload goes on until it is stopped"),
        (["--reload", "--max-messages", "5"], "--reload goes on until it is stopped"),
    ],
)
def test_options_of_a_reload_that_make_no_sense_are_refused(stub: type[Stub], arguments: list[str], text: str) -> None:
    result = run("shop:app", *arguments)

    assert result.exit_code == exits.USAGE
    assert text in result.output
    assert not stub.made


def test_a_reload_without_its_package_is_one_error(stub: type[Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    result = run("shop:app", "--reload")

    assert result.exit_code == exits.USAGE
    assert result.output.startswith("error: a reload needs the package watchfiles")
    assert "pip install 'elsa[reload]'" in result.output
    assert "Traceback" not in result.output


def test_the_supervisors_exit_code_is_the_commands(stub: type[Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stub, "code", exits.FORCED)

    assert run("shop:app").exit_code == exits.FORCED


def test_a_metrics_port_that_would_be_open_by_mistake_ends_the_worker(stub: type[Stub]) -> None:
    result = run("shop:app", "--metrics-port", "0", "--http-host", "0.0.0.0")

    assert result.exit_code == exits.USAGE
    assert "open to everybody who reaches 0.0.0.0\n  hint: set http_cert (and http_client_ca)" in result.output
    assert stub.made[0].is_stopping
    assert run("shop:app", "--metrics-port", "0", "--http-host", "0.0.0.0", "--http-open").exit_code == exits.OK
    assert run("shop:app", "--metrics-port", "0", "--http-key", "key.pem").exit_code == exits.USAGE


def test_a_metrics_port_that_is_taken_is_told_and_ends_the_worker(stub: type[Stub]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("shop:app", "--metrics-port", str(taken.getsockname()[1]))

    assert result.exit_code == exits.USAGE
    assert "the port is taken" in result.output
    assert stub.made[0].is_stopping


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


@pytest.mark.parametrize("is_terminal", [False, True])
def test_schedules_are_named_up_to_ten(
    *, is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    schedules = [{"name": f"s{number}", "text": "every 5 s"} for number in range(12)]
    show({**BANNER, "schedules": schedules}, pid=42, processes=1, metrics=None, is_terminal=is_terminal)
    shown = capsys.readouterr().err

    assert "schedule   s9: every 5 s" in shown
    assert "s10" not in shown
    assert "2 more: elsa check names all" in shown
