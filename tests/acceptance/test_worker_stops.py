"""Ctrl-C in a terminal: once is counted once and stops in order; twice ends a stuck handler by force and says which."""

from __future__ import annotations

import os
import pty
import signal
import time
from typing import TYPE_CHECKING

import pytest

from elsa import exits

from .driver import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import SetStage

pytestmark = pytest.mark.broker

CTRL_C = b"\x03"


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """(the keyboard, what a program gets as stdin) of a pseudo terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_ctrl_c_counts_once_and_stops_in_order(set_stage: SetStage, terminal: tuple[int, int]) -> None:
    keyboard, stdin = terminal
    stage = set_stage()
    stage.produce(3_000, seconds=0.01)
    tree = stage.start("--processes", "2", terminal=stdin)
    stage.wait_handled(200)

    os.write(keyboard, CTRL_C)
    assert tree.code() == exits.OK

    account = stage.account()
    assert tree.members() == []
    assert len(tree.events("stopping")) == 1
    assert len(account.started) < 3_000
    assert account.in_progress({call.pid for call in account.calls}) == 0
    assert stage.committed() == stage.handled_through()


def test_a_second_ctrl_c_ends_a_stuck_handler_and_names_it(set_stage: SetStage, terminal: tuple[int, int]) -> None:
    keyboard, stdin = terminal
    stage = set_stage(partitions=1)
    stage.produce(3, partitions=1)
    stage.produce(1, seconds=600, partitions=1)
    tree = stage.start(terminal=stdin)
    until(lambda: len(stage.calls()) == 7, "the handler is stuck")

    os.write(keyboard, CTRL_C)
    until(lambda: tree.events("stopping"), "the first one is seen")
    time.sleep(0.5)  # two that come together are one wish
    assert tree.process.poll() is None
    os.write(keyboard, CTRL_C)

    assert tree.code(10) == exits.FORCED
    assert tree.members() == []
    (blocked,) = tree.events("forced_stop")
    facts = {name: blocked[name] for name in ("handler", "topic", "partition", "offset")}
    assert facts == {"handler": "handlers.handle", "topic": stage.topic, "partition": 0, "offset": 3}
    assert "time.sleep" in str(blocked["stack"])
    assert "delivered again" in blocked["message"]


def test_a_stop_ends_within_its_deadline_when_a_handler_is_stuck(set_stage: SetStage) -> None:
    stage = set_stage(partitions=2)
    stage.produce(1, seconds=600, partitions=2)
    stage.produce(20, partitions=2)
    tree = stage.start("--stop-timeout", "4s", "--drain-timeout", "2s")
    # the stuck one's partition stands still, the other one is done
    until(lambda: len(stage.calls()) == 21, "the handler is stuck, the other partition done")

    began = time.monotonic()
    tree.signal(signal.SIGTERM)
    assert tree.code(20) == exits.FORCED
    print(f"stopped in {time.monotonic() - began:.1f} s")

    assert tree.members() == []
    assert stage.committed() in ({1: 10}, {0: 0, 1: 10})
    assert "delivered again" in tree.log
    named = tree.events("drain_timeout") + tree.events("forced_stop")
    assert {(entry["partition"], entry["offset"]) for entry in named} == {(0, 0)}


def test_a_process_in_which_nothing_runs_any_more_tells_its_stacks_before_it_is_killed(set_stage: SetStage) -> None:
    """A call into C that keeps the interpreter's lock: no thread of the process can say what it waits for."""
    stage = set_stage(partitions=1, drain_timeout=0.5, stop_timeout=1.0)
    stage.source = stage.source.replace("time.sleep(event.seconds)", "ctypes.PyDLL(None).sleep(int(event.seconds))")
    stage.source = "import ctypes\n" + stage.source
    stage.produce(1, seconds=600, partitions=1)
    tree = stage.start()
    until(lambda: len(stage.calls()) == 1, "the handler is stuck")
    tree.signal(signal.SIGTERM)

    assert tree.code(30) == exits.FORCED
    assert tree.members() == []
    assert [event["code"] for event in tree.events("forced")] == [-signal.SIGKILL]
    assert "in handle\n" in tree.log
    account = stage.account()
    assert stage.committed() == stage.handled_through()
    assert len(account.started) == 1
