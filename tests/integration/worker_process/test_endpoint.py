"""One metrics port for all worker processes: values are asked for at scrape time, added up, and never fall."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from typing import Any

Supervise = Any


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_a_page_holds_the_sum_of_all_processes(supervise: Supervise) -> None:
    run = supervise(processes=2, endpoint=True)
    run.wait_for("ready", 2)
    page = get(run.wait_for("url")["url"])

    assert "jobs_total 20.0" in page
    assert 'elsa_worker_processes{state="running"} 2.0' in page


def test_counts_of_a_process_that_died_are_kept_and_its_restart_is_counted(supervise: Supervise) -> None:
    run = supervise(processes=1, endpoint=True)
    victim = run.wait_for("ready")
    url = run.wait_for("url")["url"]
    get(url)
    os.kill(victim["pid"], signal.SIGKILL)
    run.wait_for("ready", 2)
    page = get(url)

    assert "jobs_total 30.0" in page
    assert 'elsa_worker_restarts_total{reason="signal"} 1.0' in page


def test_a_process_that_does_not_answer_is_not_waited_for(supervise: Supervise) -> None:
    run = supervise({"1": ["mute"]}, processes=2, endpoint=True)
    run.wait_for("ready", 2)

    page = get(run.wait_for("url")["url"])

    assert "jobs_total 10.0" in page
    assert "elsa_scrape_stale_processes 1.0" in page


def test_a_process_that_is_late_keeps_its_values_and_is_counted(supervise: Supervise) -> None:
    run = supervise({"1": ["answer_once"]}, processes=2, endpoint=True)
    run.wait_for("ready", 2)
    url = run.wait_for("url")["url"]
    first, second = get(url), get(url)

    assert "elsa_scrape_stale_processes 0.0" in first
    assert "elsa_scrape_stale_processes 1.0" in second
    assert "jobs_total 20.0" in first
    assert "jobs_total 20.0" in second


def test_status_names_every_process_and_what_it_says_of_itself(supervise: Supervise) -> None:
    run = supervise(processes=2, endpoint=True)
    run.wait_for("ready", 2)
    found = json.loads(get(run.wait_for("url")["url"].replace("/metrics", "/statusz")))

    assert sorted(run.pids()) == sorted(each["pid"] for each in found["processes"])
    assert [each["status"] for each in found["processes"]] == [{"life": 0}] * 2


def test_probes_tell_whether_it_lives_and_serves(supervise: Supervise) -> None:
    run = supervise(processes=1, endpoint=True)
    run.wait_for("ready")
    base = run.wait_for("url")["url"].removesuffix("/metrics")

    assert json.loads(get(f"{base}/livez"))["live"]
    assert json.loads(get(f"{base}/readyz"))["ready"]
    assert json.loads(get(f"{base}/startupz"))["started"]
