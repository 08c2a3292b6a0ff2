"""`elsa demo` as its user runs it: from nothing to counted flights, through a kill, and away again without a trace."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from elsa import exits

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 120.0


class Demo:
    """A running `elsa demo --json` and the events that it prints."""

    def __init__(self, *options: str, folder: Path, **env: str) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("ELSA_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "elsa", "demo", "--json", *options],
            cwd=folder,
            env=own | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def events(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def finish(self) -> tuple[list[dict[str, Any]], str]:
        """The events that are left, and what was written to stderr."""
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return [json.loads(line) for line in out.splitlines()], err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def answers(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((host, int(port))) == 0


def assert_nothing_is_left(started: dict[str, Any]) -> None:
    assert not is_running(started["worker"])
    assert not answers(started["bootstrap"])
    assert not Path(started["log"]).exists()


@pytest.mark.broker
def test_it_counts_every_flight_on_a_real_kafka(tmp_path: Path) -> None:
    with Demo("--fast", "--messages", "5000", "--processes", "2", folder=tmp_path) as demo:
        (started, *progress, end), _ = demo.finish()

    assert demo.process.returncode == exits.OK
    assert started["event"] == "started"
    assert started["mock"] is False
    assert all(event["event"] == "progress" for event in progress)
    assert (end["event"], end["complete"], end["published"], end["counted"]) == ("end", True, 5000, 5000)
    assert sum(carrier["flights"] for carrier in end["carriers"].values()) == 5000
    assert_nothing_is_left(started)


@pytest.mark.broker
def test_a_killed_worker_process_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    with Demo("--rate", "1000", "--messages", "8000", folder=tmp_path) as demo:
        killed = None
        for event in demo.events():
            if killed is None and event["event"] == "progress" and event["counted"] > 1000:
                (killed,) = (int(pid) for pid in event["workers"])
                os.kill(killed, signal.SIGKILL)
            if event["event"] == "end":
                break
        demo.finish()

    assert killed is not None
    assert demo.process.returncode == exits.OK
    assert (event["complete"], event["counted"]) == (True, 8000)
    # what was in progress and what was done and not committed: the promise of the engine
    assert event["repeats"] <= 3000


@pytest.mark.broker
def test_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    with Demo(folder=tmp_path) as demo:
        events = demo.events()
        started = next(events)
        next(event for event in events if event.get("counted", 0) > 0)
        demo.process.send_signal(signal.SIGINT)
        rest, err = demo.finish()

    assert demo.process.returncode == exits.OK
    assert rest[-1]["event"] == "end"
    assert err == ""
    assert_nothing_is_left(started)


@pytest.mark.broker
def test_it_leaves_nothing_behind_when_it_is_killed(tmp_path: Path) -> None:
    with Demo(folder=tmp_path) as demo:
        events = demo.events()
        started = next(events)
        next(event for event in events if event.get("counted", 0) > 0)
        worker = os.pidfd_open(started["worker"])
        demo.process.kill()
        demo.process.wait()
        gone = select_readable(worker)

    assert gone
    assert not answers(started["bootstrap"])


def test_without_a_kafka_it_goes_on_with_the_mock_cluster(tmp_path: Path) -> None:
    with Demo("--fast", "--messages", "500", folder=tmp_path, KAFKA_HOME=str(tmp_path)) as demo:
        (started, *_, end), err = demo.finish()

    assert demo.process.returncode == exits.OK
    assert f"KAFKA_HOME={tmp_path} holds no Kafka 4" in err
    assert "going on with librdkafka's mock cluster" in err
    assert started["mock"] is True
    assert (end["complete"], end["counted"]) == (True, 500)


def select_readable(descriptor: int) -> bool:
    """Whether the process behind a pidfd ends in time."""
    try:
        return bool(select.select([descriptor], [], [], PATIENCE_SECONDS)[0])
    finally:
        os.close(descriptor)
