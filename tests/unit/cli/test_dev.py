from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from elsa import exits
from elsa.broker import local
from elsa.broker.local import LocalKafka
from elsa.cli import cli
from elsa.errors import BrokerStartError, BrokerUnavailable, JavaMissing, PortInUse
from elsa.worker import reload

if TYPE_CHECKING:
    from tests.unit.cli.supervisors import Stub

PATIENCE = 30.0


class Broker:
    """Stands for an embedded broker; `said` is what happened to it and to the worker, in order."""

    root = Path("/data/kafka")

    def __init__(self, said: list[str]) -> None:
        self.said = said
        self.dies: Exception | None = None

    def wait(self, timeout: float) -> None:
        if self.dies is not None:
            raise self.dies

    def stop(self) -> None:
        is_deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        self.said.append("broker stopped" if is_deaf else "broker stopped, and a ctrl-C would hurt it")


def a_broker(said: list[str]) -> Any:
    return Broker(said)


class Bench:
    """`elsa dev` without a broker and without worker processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stub: type[Stub]) -> None:
        self.said: list[str] = []
        self.broker = a_broker(self.said)
        self.is_stopped = threading.Event()
        self.found: LocalKafka | Exception = LocalKafka("127.0.0.1:1234", self.broker)
        self.asked: list[dict[str, Any]] = []
        self.watched: list[list[Path]] = []
        bench = self

        class Watcher:
            def __init__(self, folders: list[Path], _on_change: Any) -> None:
                bench.watched.append(list(folders))

            def start(self) -> None: ...

            def stop(self) -> None: ...

        def run(supervisor: Stub) -> int:
            if self.broker.dies is not None:
                assert self.is_stopped.wait(PATIENCE)
            self.said.append("worker ended")
            return supervisor.code

        monkeypatch.setattr(local, "find_or_start", self._find)
        monkeypatch.setattr(reload, "FileWatcher", Watcher)
        monkeypatch.setattr(stub, "run", run)
        monkeypatch.setattr(stub, "stop", lambda _: self.is_stopped.set())
        # what the command sets is taken back
        monkeypatch.setenv("ELSA_BROKERS", "")

    def _find(self, _loaded: Any, **options: Any) -> LocalKafka:
        self.asked.append({name: value for name, value in options.items() if name != "on_progress"})
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, stub: type[Stub]) -> Bench:
    return Bench(monkeypatch, stub)


def run(*arguments: str, **env: str) -> Any:
    return CliRunner().invoke(cli, ["dev", *arguments], env=env)


def test_the_worker_runs_with_a_reload_on_the_kafka_that_was_started(
    bench: Bench, stub: type[Stub], tmp_path: Path
) -> None:
    result = run("shop:app")
    (made,) = stub.made

    assert result.exit_code == exits.OK, result.output
    assert made.spec.target == "shop:app"
    assert made.spec.options == {"brokers": "127.0.0.1:1234"}
    assert made.options["waits_for_code"]
    assert bench.watched == [[tmp_path]]
    assert bench.asked == [{"port": None, "ephemeral": False, "data_dir": None}]
    assert os.environ["ELSA_BROKERS"] == "127.0.0.1:1234"


def test_it_says_where_kafka_is(bench: Bench) -> None:
    shown = run("shop:app").stdout

    assert "answers at 127.0.0.1:1234 (topics are kept in /data/kafka)" in shown
    assert "    export ELSA_BROKERS=127.0.0.1:1234\n" in shown
    assert "topics are thrown away at the end" in run("shop:app", "--ephemeral").stdout


def test_the_worker_ends_before_the_broker(bench: Bench) -> None:
    before = signal.getsignal(signal.SIGINT)
    run("shop:app")

    assert bench.said == ["worker ended", "broker stopped"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_kafka_that_was_there_is_left_running(bench: Bench) -> None:
    bench.found = LocalKafka("kafka:9092")
    result = run("shop:app")

    assert bench.said == ["worker ended"]
    assert result.stdout == "Kafka answers at kafka:9092 already: it is used, and left running\n"


def test_options_of_worker_and_broker_reach_them(bench: Bench, stub: type[Stub], tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    run(
        "shop:app", "-c", "4", "-l", "debug", "-Q", "orders,invoices", "-X", "logs", "--processes", "3",
        "--metrics-port", "0", "--set", "commit_every=10", "--reload-dir", "src", "--port", "9099", "--data-dir", "x",
    )  # fmt: skip
    made = stub.made[0]

    assert made.spec.options == {
        "concurrency": 4,
        "log_level": "debug",
        "processes": 3,
        "metrics_port": 0,
        "commit_every": "10",
        "brokers": "127.0.0.1:1234",
    }
    assert (made.spec.topics, made.spec.exclude) == (["orders", "invoices"], ["logs"])
    assert made.options["processes"] == 3
    assert bench.watched == [[Path("src")]]
    assert bench.asked == [{"port": 9099, "ephemeral": False, "data_dir": Path("x")}]


def test_the_workers_exit_code_is_the_commands(bench: Bench, stub: type[Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stub, "code", exits.FORCED)

    assert run("shop:app").exit_code == exits.FORCED
    assert bench.said[-1] == "broker stopped"


def test_a_broker_that_ends_by_itself_ends_the_worker_and_says_why(bench: Bench, stub: type[Stub]) -> None:
    bench.broker.dies = BrokerStartError("node-1 stopped: the disk is full")
    result = run("shop:app")

    assert result.exit_code == exits.FAILED
    assert result.stderr.endswith("error: node-1 stopped: the disk is full\n")
    assert bench.said == ["worker ended", "broker stopped"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PortInUse("port 9092 is taken"), exits.USAGE),
        (JavaMissing(hint="pip install 'elsa[broker]'"), exits.FAILED),
        (BrokerUnavailable("no Kafka answers"), exits.BROKER),
    ],
)
def test_without_a_kafka_nothing_runs(bench: Bench, stub: type[Stub], error: Exception, code: int) -> None:
    bench.found = error
    result = run("shop:app")

    assert (result.exit_code, result.stderr) == (code, f"error: {error}\n")
    assert not stub.made


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "`elsa dev module:app`"),
        (["shop:app", "--ephemeral", "--data-dir", "x"], "give --data-dir or --ephemeral, not both"),
        (["shop:app", "--set", "comit_every=3"], "did you mean 'commit_every'?"),
        (["shop:app", "--burst"], "No such option"),
    ],
)
def test_wrong_arguments_start_no_broker(bench: Bench, arguments: list[str], text: str) -> None:
    result = run(*arguments)

    assert result.exit_code == exits.USAGE
    assert text in result.output
    assert bench.asked == []


def test_without_the_package_that_watches_no_broker_is_started(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    result = run("shop:app")

    assert result.exit_code == exits.USAGE
    assert "pip install 'elsa[reload]'" in result.output
    assert bench.asked == []
