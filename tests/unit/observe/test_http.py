"""The pages beside a worker, and that the server leaves nothing behind."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from elsa.errors import ConfigError
from elsa.observe import http as observe_http
from elsa.observe.exposition import OPENMETRICS
from elsa.observe.guard import Guard
from elsa.observe.http import MetricsServer
from elsa.observe.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def get(server: MetricsServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()
    finally:
        connection.close()


def test_metrics_are_served_as_prometheus_text() -> None:
    with MetricsServer(lambda: b"jobs 1\n", port=0) as server:
        assert get(server, "/metrics") == (200, "text/plain; version=0.0.4; charset=utf-8", b"jobs 1\n")
        assert get(server, "/metrics?name=jobs")[0] == 200
        assert get(server, "/metrics", "HEAD")[2] == b""


def test_what_it_does_not_do_is_said_in_one_line_of_text() -> None:
    with MetricsServer(lambda: b"", port=0) as server:
        assert get(server, "/metrics", "POST") == (
            501,
            "text/plain; charset=utf-8",
            b"501 Unsupported method ('POST')\n",
        )


def test_documents_end_their_line() -> None:
    probes = {"/livez": lambda: Verdict("live", [])}
    with MetricsServer(lambda: b"", port=0, status=lambda: {"ready": True}, probes=probes) as server:
        assert get(server, "/statusz")[2] == b'{\n "ready": true\n}\n'
        assert get(server, "/livez")[2] == b'{\n "live": true,\n "checks": []\n}\n'


def test_openmetrics_is_served_to_who_accepts_it() -> None:
    with MetricsServer(lambda: b"text", port=0, render_openmetrics=lambda: b"# EOF\n") as server:
        accepted = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"

        assert get(server, "/metrics", Accept=accepted)[1:] == (OPENMETRICS, b"# EOF\n")
        assert get(server, "/metrics")[2] == b"text"


def test_probes_follow_their_function() -> None:
    checks: list[dict[str, Any]] = [{"name": "poll", "ok": True}]
    with MetricsServer(lambda: b"", port=0, probes={"/livez": lambda: Verdict("live", checks)}) as server:
        status, _, body = get(server, "/livez")
        assert (status, json.loads(body)) == (200, {"live": True, "checks": [{"name": "poll", "ok": True}]})
        checks.append({"name": "join", "ok": False, "hint": "restart"})
        status, _, body = get(server, "/livez")
        assert (status, json.loads(body)) == (503, {"live": False, "checks": checks})


def test_status_is_json_and_only_there_when_given() -> None:
    with MetricsServer(lambda: b"", port=0, status=lambda: {"group": "billing", "error": ValueError("x")}) as server:
        assert json.loads(get(server, "/statusz")[2]) == {"group": "billing", "error": "x"}
    with MetricsServer(lambda: b"", port=0) as server:
        assert get(server, "/statusz")[0] == 404


def test_an_unknown_page_names_the_known_ones() -> None:
    with MetricsServer(lambda: b"", port=0, probes={"/livez": lambda: Verdict("live", [])}) as server:
        assert get(server, "/")[::2] == (404, b"there is /livez /metrics\n")


def test_a_page_that_fails_is_an_error_with_its_reason_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bytes:
        raise RuntimeError("torn down")

    with MetricsServer(broken, port=0) as server:
        assert get(server, "/metrics")[::2] == (500, b"RuntimeError, see the log\n")
    assert "torn down" in caplog.text


def test_a_given_port_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    with (
        MetricsServer(lambda: b"", port=0) as first,
        pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{first.port}: the port is taken\n  hint: .*--metrics-port"),
    ):
        MetricsServer(lambda: b"", port=first.port).start()


def test_a_taken_default_port_is_replaced_by_a_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with MetricsServer(lambda: b"first", port=0) as first:
        assert first.port is not None
        monkeypatch.setattr(observe_http, "DEFAULT_PORT", first.port)
        with MetricsServer(lambda: b"second") as second:
            assert second.port not in {None, 0, first.port}
            assert second.url == f"http://127.0.0.1:{second.port}/metrics"
            assert get(second, "/metrics")[2] == b"second"


def test_an_address_that_is_not_of_this_machine_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"metrics can not be served on 192\.0\.2\.1:0: .*assign"):
        MetricsServer(lambda: b"", host="192.0.2.1", port=0, guard=Guard(open=True)).start()


def test_an_open_address_is_refused_unless_that_is_wanted() -> None:
    with pytest.raises(ConfigError, match=r"open to everybody who reaches 0\.0\.0\.0\n  hint: .*--http-open"):
        MetricsServer(lambda: b"", host="0.0.0.0", port=0).start()


def test_an_open_address_that_is_wanted_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        MetricsServer(lambda: b"", host="0.0.0.0", port=0, guard=Guard(open=True)) as server,
    ):
        assert get(server, "/metrics")[0] == 200
    assert "served beyond this machine without encryption or authentication" in caplog.text
    caplog.clear()
    with MetricsServer(lambda: b"", port=0):
        pass
    assert not caplog.text


@pytest.mark.timeout(30)
def test_stopping_does_not_wait_for_a_client_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe_http._Requests, "timeout", None)
    server = MetricsServer(lambda: b"", port=0)
    server.start()
    assert server._server is not None
    with socket.create_connection((server.host, server.port or 0), timeout=5) as silent:
        get(server, "/metrics")  # answered after the silent one was accepted
        server.stop()

        assert silent.recv(1) == b""


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_ipv6_address_is_served_and_written_in_brackets() -> None:
    try:
        with MetricsServer(lambda: b"jobs 1\n", host="::1", port=0) as server:
            assert server.url == f"http://[::1]:{server.port}/metrics"
            assert get(server, "/metrics")[2] == b"jobs 1\n"
    except ConfigError as error:
        pytest.skip(f"IPv6 is switched off: {error}")


def test_starting_and_stopping_twice_is_harmless() -> None:
    server = MetricsServer(lambda: b"", port=0)
    server.stop()
    server.start()
    port = server.port
    server.start()
    assert server.port == port
    server.stop()
    server.stop()
