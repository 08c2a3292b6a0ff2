"""Workers killed with `kill -9` at any moment while their movers let messages go: each message arrives once.

A killed mover leaves a transaction open. Its successor, or the broker after some seconds, ends it: what it had copied
is gone with it, and the offsets have not moved. Readers of committed messages see every message one time.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .waiting import Log, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import elsa
    from elsa.testing.kafka import Topics

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the worker processes by /proc"),
]

APP = """\
import os
import pathlib

import elsa

app = elsa.App({name!r}, brokers={brokers!r}, runtime_dir={runtime!r}, metadata_refresh=1.0)


@app.on_startup
def note() -> None:
    pathlib.Path({runtime!r}, f"pid-{{os.getpid()}}").touch()


@app.handler({topic!r}, group={name!r})
def handle(body: int) -> None:
    return None
"""


class Workers:
    """`elsa worker` in a process of its own, with worker processes that can be killed."""

    def __init__(self, folder: Path, processes: int) -> None:
        self._folder = folder
        with (folder / "stderr").open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "elsa", "worker", "delayed_app:app", "--processes", str(processes)],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    def pids(self) -> list[int]:
        """Worker processes that are alive."""
        noted = [int(path.name.partition("-")[2]) for path in self._folder.glob("pid-*")]
        return [pid for pid in noted if is_child(pid, self._process.pid)]

    def kill_one(self, choose: random.Random) -> None:
        os.kill(choose.choice(until(self.pids, "a worker process is there")), signal.SIGKILL)

    def kill_all(self) -> None:
        """As if the host were gone."""
        # nobody may be replaced meanwhile
        self._process.send_signal(signal.SIGSTOP)
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(40)
        finally:
            for pid in self.pids():
                os.kill(pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()


def is_child(pid: int, parent: int) -> bool:
    """Whether it is alive and still that one's child: a number may be another's by now."""
    try:
        state, found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return False
    return state != "Z" and int(found) == parent


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[..., Workers]]:
    made: list[Workers] = []

    def start(processes: int = 2, **facts: str) -> Workers:
        (tmp_path / "delayed_app.py").write_text(APP.format(runtime=str(tmp_path), **facts))
        made.append(Workers(tmp_path, processes))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def test_each_message_arrives_once_whenever_movers_are_killed(
    make_app: Callable[..., elsa.App], workers: Callable[..., Workers], topic: Topics, brokers: str, log: Log
) -> None:
    name = topic(3)
    app = make_app()
    choose = random.Random(5)
    waits = [0.2, 1.0, 1.5, 2.7, 4.0, 6.0, 9.0]
    running = workers(name=app.name, brokers=brokers, topic=name)
    until(lambda: len(running.pids()) == 2, "both are there")
    app.send(name, -1, delay=0.1).result(60)
    until(lambda: log.read(name), "movers are at work", 60)

    due: dict[int, float] = {}
    number = 0
    for _ in range(8):
        batch = []
        for _ in range(80):
            wait = choose.choice(waits)
            due[number] = time.time() + wait
            batch.append(app.send(name, number, key=f"k{number % 17}", delay=wait))
            number += 1
        for delivery in batch:
            delivery.result(30)
        # at whatever step of a transaction that is
        time.sleep(choose.uniform(0.3, 2.0))
        running.kill_one(choose)

    def is_there() -> bool:
        return len({message.value for message in log.read(name)}) == number + 1

    until(is_there, f"{number} messages have arrived", 120)
    running.stop()

    found = log.read(name)
    assert Counter(int(message.value or b"") for message in found) == Counter(range(-1, number))
    for message in found:
        body = int(message.value or b"")
        if body >= 0:
            assert message.timestamp is not None
            # stamped when it was let go, in whole milliseconds
            assert message.timestamp >= due[body] - 0.002
    # nothing is left in transactions that were open
    assert log.read(f"{app.name}.delay.dlq") == []


def test_what_a_host_that_is_gone_was_moving_is_moved_by_others(
    make_app: Callable[..., elsa.App], workers: Callable[..., Workers], topic: Topics, brokers: str, log: Log
) -> None:
    """Nobody takes its id over: its transaction is ended by the broker, its partitions go to others after 10 s."""
    name = topic(3)
    app = make_app()
    stays = workers(1, name=app.name, brokers=brokers, topic=name)
    until(stays.pids, "the first is there")
    app.send(name, -1, delay=0.1).result(60)
    until(lambda: log.read(name), "a mover is at work", 60)
    goes = workers(1, name=app.name, brokers=brokers, topic=name)
    until(goes.pids, "the second is there")

    sent = [app.send(name, number, key=f"k{number % 17}", delay=0.5 + number / 100) for number in range(800)]
    for delivery in sent:
        delivery.result(30)
    until(lambda: len(log.read(name)) > 200, "messages are let go", 60)
    goes.kill_all()

    def is_there() -> bool:
        return len({message.value for message in log.read(name)}) == 801

    until(is_there, "800 messages have arrived", 120)
    stays.stop()
    assert Counter(int(message.value or b"") for message in log.read(name)) == Counter(range(-1, 800))
