"""`elsa top`, `elsa lag` and `elsa monitor` beside real workers: at work, with a paused partition, and all killed."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Any

import pytest

from elsa import exits

from .driver import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import SetStage
    from .driver import Stage

pytestmark = pytest.mark.broker


def run(stage: Stage, *argv: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "elsa", *argv],
        env=stage.environment,
        cwd=stage.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    print(f"{argv}: {done.returncode}\n{done.stdout[-500:]}{done.stderr}")
    return done


def top(stage: Stage) -> dict[str, Any]:
    done = run(stage, "top", stage.app, "--name", stage.app, "--json", "--interval", "500ms")
    assert done.returncode == exits.OK
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def of_topic(stage: Stage, frame: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {row["partition"]: row for row in frame["partitions"] if row["topic"] == stage.topic}


class Screen:
    """`elsa top` on a terminal of its own, as a person sees it."""

    def __init__(self, stage: Stage, *argv: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 400, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            [sys.executable, "-m", "elsa", "top", "--name", stage.app, "--interval", "200ms", *argv],
            env=stage.environment | {"TERM": "xterm-256color", "COLUMNS": "", "LINES": ""},
            cwd=stage.folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        self.text = ""

    def _read(self) -> None:
        while select.select([self._ours], [], [], 0)[0]:
            data = os.read(self._ours, 65_536)
            self.text += re.sub(r"\x1b\[[0-9;]*m", "", data.decode(errors="replace"))

    def expect(self, text: str) -> None:
        """Wait until it is drawn, after what was expected before."""

        def is_there() -> bool:
            self._read()
            return text in self.text

        end = time.monotonic() + PATIENCE
        while not is_there():
            if time.monotonic() > end:
                pytest.fail(f"waited until {text!r} is drawn, after that came {self.text[-3000:]!r}")
            time.sleep(0.02)
        self.text = self.text[self.text.index(text) + len(text) :]

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Its exit code; what it wrote at its end is in `text`."""

        def is_over() -> bool:
            # what nobody reads would hold it up
            self._read()
            return self.process.poll() is not None

        until(is_over, "it has ended")
        self._read()
        return int(self.process.returncode)

    @property
    def is_restored(self) -> bool:
        """Whether the terminal is as it was, and shows what it showed before."""
        return termios.tcgetattr(self._theirs) == self.before and "\x1b[?1049l" in self.text

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        for descriptor in (self._ours, self._theirs):
            os.close(descriptor)


@pytest.fixture
def screens() -> Iterator[list[Screen]]:
    shown: list[Screen] = []
    yield shown
    for each in shown:
        each.close()


def test_workers_under_load_are_seen_with_what_they_do(set_stage: SetStage) -> None:
    stage = set_stage(partitions=4)
    tree = stage.start("--processes", "2")
    tree.wait_ready(2)
    stage.produce(3_000, seconds=0.01, partitions=4)

    def is_reported() -> dict[str, Any] | None:
        frame = top(stage)
        rows = frame["handlers"]
        return frame if rows and rows[0]["workers"] == 2 and rows[0]["rate"] and rows[0]["p95"] else None

    frame = until(is_reported, "both processes have reported what they have done")
    scraped = {row["partition"]: row["lag"] for row in of_topic(stage, frame).values()}
    stage.wait_all()
    caught_up = until(lambda: found if not lag_of(found := top(stage)) else None, "nothing is left")
    assert tree.stop() == exits.OK

    (row,) = frame["handlers"]
    assert (row["handler"], row["group"], row["topic"]) == ("handlers.handle", stage.app, stage.topic)
    # a call sleeps for 10 ms; what follows is a bucket's bound
    assert row["p95"] > 0.005
    assert row["failing"] == 0
    assert {worker["state"] for worker in frame["workers"]} == {"ready"}
    assert sum(worker["partitions"] for worker in frame["workers"]) == 4
    (group,) = frame["groups"]
    assert (group["group"], group["state"], group["members"]) == (stage.app, "stable", 2)
    assert sum(scraped.values()) == group["lag"]
    assert all(each["owner"] for each in frame["partitions"])
    assert lag_of(caught_up) == 0
    assert caught_up["groups"][0]["lag_seconds"] == 0


def lag_of(frame: dict[str, Any]) -> int:
    return sum(group["lag"] for group in frame["groups"])


def test_a_paused_partition_stalls_and_workers_that_are_killed_stop(set_stage: SetStage) -> None:
    stage = set_stage(partitions=2, session_timeout=6.0, heartbeat_interval=1.0)
    tree = stage.start()
    tree.wait_ready()
    stage.produce(2, partitions=2)
    stage.wait_handled(2)
    paused = run(stage, "control", "pause", "--name", stage.app, "-t", stage.topic, "-p", "1")
    stage.produce(20, partitions=2)

    frame = until(
        lambda: found if of_topic(stage, found := top(stage))[1]["paused"] else None,
        "the worker has told that it is paused",
    )
    until(lambda: of_topic(stage, top(stage))[0]["lag"] == 0, "the other partition is done")
    check = ["lag", stage.app, "-t", stage.topic, "--check", "--grade", "--window", "2s"]
    stalled = run(stage, *check)
    count = run(stage, "lag", stage.app, "-t", stage.topic, "--check", "--max-messages", "9")
    tree.end()
    until(lambda: top(stage)["groups"][0]["members"] == 0, "the broker gives the members up")
    stopped = run(stage, *check, "--json")
    dead = until(lambda: found if "silent" in str((found := top(stage))["notes"]) else None, "its silence is told")

    assert paused.returncode == exits.OK
    rows = of_topic(stage, frame)
    assert (rows[1]["paused"], rows[1]["lag"]) == ("operator", 10)
    assert (stalled.returncode, count.returncode) == (exits.OVER_LIMIT, exits.OVER_LIMIT)
    assert f"stall in {stage.topic}[1]" in stalled.stdout
    assert "10 messages behind, 9 are allowed" in count.stdout
    assert stopped.returncode == exits.OVER_LIMIT
    (over,) = json.loads(stopped.stdout)["over"]
    assert over == {"group": stage.app, "text": f"stop in {stage.topic}[1]"}
    assert (dead["groups"][0]["state"], dead["groups"][0]["lag"]) == ("empty", 10)
    assert of_topic(stage, dead)[1]["lag_seconds"] > 0
    assert any("no worker" in note for note in dead["notes"])


def test_a_person_watches_sorts_filters_pauses_and_quits(set_stage: SetStage, screens: list[Screen]) -> None:
    stage = set_stage(partitions=2)
    tree = stage.start()
    tree.wait_ready()
    screen = Screen(stage, stage.app)
    screens.append(screen)

    screen.expect("sorted by lag")
    screen.expect(stage.app)
    screen.expect("handlers.handle")
    screen.press("s")
    screen.expect("sorted by age")
    screen.press("/no-such")
    screen.expect("filter: no-such_")
    screen.press("\r")
    screen.expect("only 'no-such'")
    screen.press("\x1b")
    screen.expect("handlers.handle")
    screen.press("p")
    screen.expect("PAUSED")
    screen.press("p")
    screen.press("q")
    code = screen.end()
    assert tree.stop() == exits.OK

    assert code == exits.OK
    assert screen.is_restored


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_told_to_stop_leaves_the_terminal_as_it_was(
    set_stage: SetStage, screens: list[Screen], number: signal.Signals
) -> None:
    """Nobody works, and no broker answers."""
    stage = set_stage(partitions=1)
    for argv in ((), ("-b", "127.0.0.1:1")):
        screen = Screen(stage, *argv)
        screens.append(screen)
        screen.expect("no Kafka broker answered" if argv else "sorted by lag")
        screen.process.send_signal(number)

        assert screen.end() == exits.OK
        assert screen.is_restored


def test_a_pipe_gets_one_frame(set_stage: SetStage) -> None:
    stage = set_stage(partitions=1)
    done = run(stage, "top", "it-there-is-no-such-group", "--name", stage.app, "--interval", "100ms")

    assert done.returncode == exits.NOT_FOUND
    assert done.stdout.startswith("elsa top  ")
    assert f"there is no topic {stage.app}.status" in done.stderr
    assert done.stderr.count("there is no group 'it-there-is-no-such-group'") == 1
