"""`elsa healthcheck` against a real endpoint: codes, where the port comes from, TLS, tokens."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from click.testing import CliRunner

from elsa import exits
from elsa.cli import cli
from elsa.observe.guard import Guard
from elsa.observe.http import MetricsServer
from elsa.observe.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

POLL = {"name": "poll", "about": "billing", "process": 0, "ok": True, "age": 0.1, "limit": 300.0}
BROKERS = {"name": "brokers", "process": 0, "ok": False, "age": 7.5, "limit": 40.0, "hint": "Kafka does not answer"}

Serve = Any


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ELSA_APP", "ELSA_METRICS_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve() -> Iterator[Callable[..., MetricsServer]]:
    servers: list[MetricsServer] = []

    def start(guard: Guard | None = None, host: str = "127.0.0.1") -> MetricsServer:
        probes = {
            "/livez": lambda: Verdict("live", [POLL]),
            "/readyz": lambda: Verdict("ready", [POLL, BROKERS]),
            "/startupz": lambda: Verdict("started", []),
        }
        server = MetricsServer(lambda: b"", host=host, port=0, probes=probes, guard=guard)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def run(*arguments: str, **env: str) -> Any:
    return CliRunner().invoke(cli, ["healthcheck", *arguments], env=env)


def test_each_probe_ends_with_its_code(serve: Serve) -> None:
    port = str(serve().port)

    assert (run("--port", port).exit_code, run("--port", port).stdout) == (exits.OK, "live\n")
    assert run("--port", port, "--startup").stdout == "started\n"
    refused = run("--port", port, "--ready")
    assert (refused.exit_code, refused.stdout) == (exits.FAILED, "not ready\n")
    assert refused.stderr == "error: brokers of process 0: Kafka does not answer\n"


def test_verbose_shows_every_check_with_age_and_limit(serve: Serve) -> None:
    shown = run("--port", str(serve().port), "--ready", "--verbose").stdout.splitlines()

    assert [line.split() for line in shown] == [
        ["not", "ready"],
        ["check", "process", "about", "ok", "age", "limit"],
        ["poll", "0", "billing", "yes", "0.1", "300.0"],
        ["brokers", "0", "-", "no", "7.5", "40.0"],
    ]


def test_json_is_for_programs(serve: Serve) -> None:
    server = serve()
    result = run("--port", str(server.port), "--ready", "--json")

    assert result.exit_code == exits.FAILED
    assert json.loads(result.stdout) == {
        "ok": False,
        "url": f"http://127.0.0.1:{server.port}/readyz",
        "ready": False,
        "checks": [POLL, BROKERS],
    }


def test_the_port_is_found_as_the_worker_finds_it(serve: Serve, tmp_path: Path) -> None:
    port = serve().port

    assert run(ELSA_METRICS_PORT=str(port)).exit_code == exits.OK
    assert run("--url", f"http://127.0.0.1:{port}").exit_code == exits.OK
    (tmp_path / "elsa.toml").write_text(f"metrics_port = {port}\n")
    assert run().exit_code == exits.OK


def test_the_app_is_imported_only_where_nothing_else_says_the_port(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code = f"import elsa\napp = elsa.App('healthcheck-port', metrics_port={serve().port})\n"
    (tmp_path / "healthy_shop.py").write_text(code)

    assert run(ELSA_APP="nobody:app", ELSA_METRICS_PORT=str(serve().port)).exit_code == exits.OK
    assert run(ELSA_APP="healthy_shop:app").exit_code == exits.OK
    assert run("-A", "nobody:app", ELSA_METRICS_PORT="9464").exit_code == exits.APP_NOT_FOUND


def test_a_worker_on_all_addresses_is_asked_on_this_machine(serve: Serve) -> None:
    port = str(serve(Guard(open=True), "0.0.0.0").port)

    assert run(ELSA_METRICS_PORT=port, ELSA_HTTP_HOST="0.0.0.0").exit_code == exits.OK


@pytest.mark.parametrize(("port", "why"), [("0", "metrics_port=0 takes any free one"), ("", "no metrics_port is set")])
def test_a_port_that_is_not_known_is_a_usage_error(port: str, why: str) -> None:
    result = run(ELSA_METRICS_PORT=port)

    assert result.exit_code == exits.USAGE
    assert f"the worker's port is not known: {why}\n  hint: give --port or --url" in result.stderr


def test_nobody_there_is_told(serve: Serve) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = run("--port", str(port))

    assert result.exit_code == exits.NO_WORKER
    assert f"no worker answered at http://127.0.0.1:{port}/livez: Connection refused" in result.stderr
    assert run("--url", "ftp://x").exit_code == exits.USAGE
    assert run("--url", "http://x", "--port", "1").exit_code == exits.USAGE


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--port", "9464", "--live", "--ready"], "--live and --ready are different questions: ask one"),
        (["--port", "9464", "--timeout", "0s"], "--timeout has to be above 0"),
        (["--url", "http://127.0.0.1:9464/metrics"], "has a path: the probe says it"),
        (["--port", "9464", "--cert", "client.pem"], "it is no TLS"),
    ],
)
def test_what_would_be_ignored_is_refused(arguments: list[str], why: str) -> None:
    result = run(*arguments)

    assert (result.exit_code, why in result.stderr) == (exits.USAGE, True)


def test_something_else_on_the_port_is_told(serve: Serve) -> None:
    server = MetricsServer(lambda: b"", port=0)
    with server:
        result = run("--port", str(server.port))

    assert result.exit_code == exits.NO_WORKER
    assert "is no worker of Elsa (status 404)" in result.stderr


def test_tls_client_certificates_and_a_token_go_along(serve: Serve, tmp_path: Path) -> None:
    authority = trustme.CA()
    made, mine = authority.issue_cert("worker.example"), authority.issue_cert("probe")
    paths = {name: str(tmp_path / f"{name}.pem") for name in ("server", "ca", "client", "other")}
    made.private_key_and_cert_chain_pem.write_to_path(paths["server"])
    mine.private_key_and_cert_chain_pem.write_to_path(paths["client"])
    authority.cert_pem.write_to_path(paths["ca"])
    guard = Guard(cert=paths["server"], client_ca=paths["ca"], token="tiger")
    env = {"ELSA_METRICS_PORT": str(serve(guard).port), "ELSA_HTTP_CERT": paths["server"]}

    assert run("--cert", paths["client"], **env).exit_code == exits.OK
    unknown = run(**env)
    assert (unknown.exit_code, "--cert where it wants" in unknown.stderr) == (exits.NO_WORKER, True)
    shown = run("--cert", paths["client"], "--json", ELSA_HTTP_TOKEN="tiger", **env).stdout
    assert json.loads(shown)["checks"] == [POLL]
    other = trustme.CA().issue_cert("worker.example")
    # not the worker's own file: that one it would serve from then on
    other.private_key_and_cert_chain_pem.write_to_path(paths["other"])
    refused = run("--cert", paths["client"], **env | {"ELSA_HTTP_CERT": paths["other"]})
    assert (refused.exit_code, "certificate verify failed" in refused.stderr) == (exits.NO_WORKER, True)
    assert "hint: ELSA_HTTP_CERT names the worker's certificate" in refused.stderr
    assert run("--cert", str(tmp_path / "gone.pem"), **env).exit_code == exits.USAGE
