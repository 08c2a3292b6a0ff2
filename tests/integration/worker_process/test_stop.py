"""TERM and INT stop every worker process within the deadline, a second one ends them now.

Only the supervisor counts signals; what a process is told, and the exit code, say how it went.
"""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

Supervise = Any


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_every_process_with_leave_and_deadline(supervise: Supervise, number: signal.Signals) -> None:
    run = supervise(processes=2, stop_timeout=7)
    run.wait_for("ready", 2)
    run.signal(number)

    assert run.code() == 0
    told = [note["message"] for note in run.journal("message")]
    assert told == [{"type": "stop", "deadline": 7, "leave": True}] * 2
    assert run.wait_for("over")["foreign"] == []


def test_what_an_operator_tells_one_process_stops_all_of_them(supervise: Supervise) -> None:
    run = supervise({"0": ["wish_to_stop"]}, processes=2, stop_timeout=7)

    assert run.code() == 0
    assert run.journal("message", index=0, message={"type": "stop", "deadline": 7, "leave": True})
    assert run.wait_for("stopping")["worker"] == 0
    assert {event["worker"] for event in run.all("ended")} == {0, 1}
    assert run.all("replaced") == []


def test_a_quiet_that_an_operator_tells_one_process_is_for_all_and_for_those_that_come_later(
    supervise: Supervise,
) -> None:
    run = supervise({"0": ["wish_for_quiet"]}, processes=2)
    for index in (0, 1):
        run.wait_for_note("message", index=index, message={"type": "quiet"})
    (first,) = run.journal("spec", index=1)
    os.kill(first["pid"], signal.SIGKILL)
    run.wait_for_note("message", index=1, life=1, message={"type": "quiet"})
    run.signal(signal.SIGTERM)

    assert run.code() == 0


def test_case_37_a_process_that_refuses_is_killed_after_the_deadline_and_named(supervise: Supervise) -> None:
    run = supervise({"0": ["refuse"]}, processes=2, stop_timeout=0.3)
    run.wait_for("ready", 2)
    run.signal(signal.SIGTERM)

    assert run.code() == 6
    forced = run.wait_for("forced")
    assert (forced["worker"], forced["code"]) == (0, -signal.SIGKILL)
    assert forced["blocked"] == [{"handler": "shop.bill", "topic": "orders", "partition": 3, "offset": 17}]
    assert len(run.all("forced")) == 1


def test_a_second_signal_ends_everything_now(supervise: Supervise) -> None:
    run = supervise({"0": ["refuse"], "1": ["serve"]}, processes=2, stop_timeout=600)
    run.wait_for("ready", 2)
    run.signal(signal.SIGTERM)
    run.wait_for("ended")
    run.wait_for_note("message", index=0, message={"type": "stop", "deadline": 600, "leave": True})
    # two signals within a quarter of a second would be one wish
    time.sleep(0.3)
    run.signal(signal.SIGTERM)

    assert run.code() == 6
    assert run.journal("message", index=0, message={"type": "now"})


def test_two_kinds_of_signal_at_once_are_one_wish(supervise: Supervise) -> None:
    run = supervise(processes=1)
    run.wait_for("ready")
    run.signal(signal.SIGINT)
    run.signal(signal.SIGTERM)

    assert run.code() == 0
    assert not run.all("now")


def test_a_process_that_is_still_importing_is_ended_at_once(supervise: Supervise) -> None:
    run = supervise({"0": ["hang"]}, stop_timeout=600)
    run.wait_for_note("spec")
    run.signal(signal.SIGINT)

    assert run.code() == 0


def test_a_process_that_fails_while_it_stops_gives_its_exit_code(supervise: Supervise) -> None:
    run = supervise({"0": ["crash_at_stop"]})
    run.wait_for("ready")
    run.signal(signal.SIGTERM)

    assert run.code() == 9
    assert run.wait_for("ended_badly")["code"] == 9


@pytest.fixture
def terminal() -> Any:
    master, slave = pty.openpty()
    yield master, slave
    for descriptor in (master, slave):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_ctrl_c_in_a_terminal_counts_once(supervise: Supervise, terminal: tuple[int, int]) -> None:
    master, slave = terminal
    run = supervise(processes=2, terminal=slave)
    run.wait_for("ready", 2)
    os.write(master, b"\x03")

    assert run.code() == 0
    assert not run.all("now")
    assert not run.journal("INT")
    assert len(run.journal("message", message={"type": "stop", "deadline": 25.0, "leave": True})) == 2


def test_closing_the_terminal_stops_instead_of_restarting(supervise: Supervise, terminal: tuple[int, int]) -> None:
    master, slave = terminal
    run = supervise(processes=1, terminal=slave)
    run.wait_for("ready")
    os.close(slave)
    os.close(master)

    assert run.code() == 0
    assert run.all("stopping") and not run.all("rolling")


def test_kill_9_of_the_supervisor_lets_its_processes_stop_by_themselves(
    supervise: Supervise, wait_until_gone: Callable[[int], None]
) -> None:
    run = supervise(processes=2)
    run.wait_for("ready", 2)
    run.signal(signal.SIGKILL)

    assert run.code() == -signal.SIGKILL
    for pid in run.pids():
        wait_until_gone(pid)
    assert len(run.journal("message", message={"type": "end"})) == 2
