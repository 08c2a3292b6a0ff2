"""The supervisor's probes over processes that hang, die again and again, never load, or say that they are ill."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60.0
Supervise = Any


def read(run: Any, path: str) -> tuple[int, list[dict[str, Any]]]:
    """The status, and all checks."""
    base = run.wait_for("url")["url"].removesuffix("/metrics")
    try:
        with urllib.request.urlopen(f"{base}{path}", timeout=10) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read()
    return status, json.loads(body)["checks"]


def ask(run: Any, path: str) -> tuple[int, list[dict[str, Any]]]:
    """The status, and the checks that do not hold."""
    status, checks = read(run, path)
    return status, [check for check in checks if not check["ok"]]


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # a page tells nobody that it has changed


def test_a_process_that_is_stopped_is_not_alive_until_it_goes_on(supervise: Supervise) -> None:
    run = supervise(processes=2, endpoint=True, silent=1.0)
    pid = run.wait_for("ready", 1, worker=1)["pid"]
    run.wait_for("ready", 2)
    assert ask(run, "/livez") == (200, [])

    os.kill(pid, signal.SIGSTOP)
    until(lambda: ask(run, "/livez")[0] == 503)
    (check,) = ask(run, "/livez")[1]
    assert (check["name"], check["process"], check["limit"]) == ("process", 1, 1.0)
    assert f"kill -9 {pid}" in check["hint"]
    assert [check["name"] for check in ask(run, "/readyz")[1]] == ["process"]

    os.kill(pid, signal.SIGCONT)
    until(lambda: ask(run, "/livez")[0] == ask(run, "/readyz")[0] == 200)


def test_a_process_that_dies_again_and_again_is_not_alive_while_it_is_gone(supervise: Supervise) -> None:
    run = supervise({"0": ["crash"]}, processes=1, endpoint=True, silent=0.5, min_life=60)
    run.wait_for("replaced", 2)
    until(lambda: ask(run, "/livez")[0] == 503)

    assert [(check["name"], "dies again" in check["hint"]) for check in ask(run, "/livez")[1]] == [("process", True)]


@pytest.mark.parametrize("dies", ["die_until_mended", "die_soon_after_greeting"])
def test_one_that_dies_at_every_start_is_dead_until_a_process_is_ready_again(supervise: Supervise, dies: str) -> None:
    lives = ["serve", *[dies] * 40, "serve"]
    run = supervise({"0": lives}, processes=1, endpoint=True, silent=0.5, min_life=0.2, longest_backoff=0.2)
    os.kill(run.wait_for("ready")["pid"], signal.SIGKILL)
    until(lambda: ask(run, "/livez")[0] == 503)

    deaths = len(run.all("replaced"))
    found = []
    while len(run.all("replaced")) < deaths + 10:
        found.append(ask(run, "/livez"))
    assert {status for status, _ in found} == {503}
    assert {check["name"] for _, checks in found for check in checks} == {"process"}
    assert "it dies again and again" in found[0][1][0]["hint"]

    Path(run.folder / "mended").touch()
    run.wait_for("ready", 2)
    assert ask(run, "/livez") == (200, [])


def test_one_that_waits_for_kafka_after_deaths_of_others_is_no_reason_for_a_restart(supervise: Supervise) -> None:
    run = supervise(
        {"0": ["serve", "die", "die", "wait_for_kafka"]}, processes=1, endpoint=True, silent=1.0, min_life=1
    )
    os.kill(run.wait_for("ready")["pid"], signal.SIGKILL)
    until(lambda: ask(run, "/livez")[0] == 503)

    until(lambda: ask(run, "/livez") == (200, []))
    assert ask(run, "/readyz")[0] == 503


def test_one_whose_import_takes_longer_than_silence_may_is_waited_for(supervise: Supervise) -> None:
    run = supervise({"0": ["serve", "hang"]}, processes=1, endpoint=True, silent=1.0)
    os.kill(run.wait_for("ready")["pid"], signal.SIGKILL)
    run.wait_for("started", 2)

    until(lambda: any(check["name"] == "process" and check["age"] > 2.0 for check in read(run, "/livez")[1]))
    assert ask(run, "/livez") == (200, [])


def test_a_process_that_is_replaced_at_once_is_no_reason_for_a_restart(supervise: Supervise) -> None:
    run = supervise(processes=1, endpoint=True)
    victim = run.wait_for("ready")
    os.kill(victim["pid"], signal.SIGKILL)
    run.wait_for("ready", 2)

    assert ask(run, "/livez") == (200, [])


def test_what_a_process_says_of_itself_counts(supervise: Supervise) -> None:
    run = supervise({"0": ["sick"]}, processes=1, endpoint=True)
    run.wait_for("ready")
    until(lambda: ask(run, "/livez")[0] == 503)

    expected = {"name": "poll", "about": "billing", "ok": False, "age": 7.0, "limit": 6.0, "hint": "restart it"}
    assert ask(run, "/livez")[1] == [{"process": 0, **expected}]


def test_a_process_that_loads_its_app_lives_and_has_not_started(supervise: Supervise) -> None:
    run = supervise({"1": ["hang"]}, processes=2, endpoint=True)
    run.wait_for("ready")

    assert ask(run, "/livez") == (200, [])
    assert [(check["name"], check["process"]) for check in ask(run, "/startupz")[1]] == [("app", 1)]
    assert ask(run, "/readyz")[0] == 503


def test_a_worker_that_stops_is_not_ready_and_lives(supervise: Supervise) -> None:
    run = supervise({"0": ["refuse"]}, processes=1, endpoint=True, stop_timeout=20)
    run.wait_for("ready")
    run.signal(signal.SIGTERM)
    run.wait_for_note("message", message={"type": "stop", "deadline": 20, "leave": True})

    assert ask(run, "/livez") == (200, [])
    assert [check["name"] for check in ask(run, "/readyz")[1]] == ["draining", "process"]


def test_a_process_that_ends_by_itself_is_not_missed_while_it_drains(supervise: Supervise) -> None:
    run = supervise({"0": ["end_slowly"]}, processes=1, endpoint=True, silent=0.0)
    run.wait_for("ready")
    until(lambda: ask(run, "/livez") == (200, []))

    assert [check["name"] for check in ask(run, "/readyz")[1]] == ["process"]
