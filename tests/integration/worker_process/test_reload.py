"""A change of the code renews the worker processes as HUP does; code that can't be run is waited out.

The stand-ins' code is a file that says how they behave; it is really watched.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

Supervise = Any


def test_a_change_renews_the_processes_one_by_one_and_they_keep_their_slots(supervise: Supervise) -> None:
    run = supervise(code="serve", processes=2, stop_timeout=9)
    run.wait_for("ready", 2)
    run.save("serve")
    run.wait_for("rolled")

    assert run.wait_for("reloading")["files"] == [str(run.folder / "code" / "shop.py")]
    told = [note["message"] for note in run.journal("message")]
    assert told == [{"type": "stop", "deadline": 9, "leave": False}] * 2
    order = [(e["kind"], e["worker"]) for e in run.events if e["kind"] in ("started", "ready")][4:]
    assert order == [(kind, worker) for worker in range(2) for kind in ("started", "ready")]
    assert [note["spec"]["slot"] for note in run.journal("spec", life=1)] == [40, 41]


def test_a_burst_of_changes_is_one_reload(supervise: Supervise) -> None:
    run = supervise(code="serve")
    run.wait_for("ready")
    names = [f"module_{number}.py" for number in range(30)]
    for name in names:
        run.save("", name)
    run.wait_for("rolled")
    run.signal(signal.SIGTERM)

    assert run.code() == 0
    (reloading,) = run.all("reloading")
    assert reloading["files"] == sorted(str(run.folder / "code" / name) for name in names)
    assert len(run.all("started")) == 2


def test_a_first_start_that_fails_is_told_once_and_the_next_change_is_waited_for(supervise: Supervise) -> None:
    run = supervise(code="fail", processes=3)
    broken = run.wait_for("broken")
    run.save("serve")
    run.wait_for("rolled")

    assert broken["error"] == "no module named 'shop'"
    assert len(run.all("broken")) == 1
    assert len(run.all("ready")) == 3
    assert not run.all("failed")


@pytest.mark.parametrize("failing", ["fail", "die", "fail_after_greeting", "fail_late"])
def test_code_that_can_not_be_run_leaves_nothing_running_until_it_changes(supervise: Supervise, failing: str) -> None:
    run = supervise(code="serve", processes=2)
    run.wait_for("ready", 2)
    first, second = run.pids()
    run.save(failing)
    run.wait_for("broken")
    # the second one still ran the code before
    run.wait_for_note("message", pid=second, message={"type": "stop", "deadline": 25.0, "leave": False})
    run.save("serve")
    run.wait_for("rolled")

    assert len(run.all("broken")) == 1
    assert {pid for pid in run.pids() if not ended(pid)} == {e["pid"] for e in run.all("ready")[-2:]} - {first, second}
    assert not run.all("replaced") and not run.all("roll_failed")


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_what_a_process_that_is_told_to_end_says_of_the_app_counts_no_more(supervise: Supervise) -> None:
    run = supervise({"0": ["wait_and_fail"], "1": ["greet_late"]}, processes=2, waits_for_code=True)
    run.wait_for_note("waiting", index=1)
    (run.folder / "go").touch()
    run.wait_for("hello", worker=1)
    run.signal(signal.SIGTERM)

    assert run.code() == 0
    assert len(run.all("broken")) == 1
    assert len(run.all("started")) == 2


def test_an_import_that_hangs_is_given_up_for_the_next_change(supervise: Supervise) -> None:
    run = supervise(code="serve", processes=2, stop_timeout=600, ready_timeout=600)
    run.wait_for("ready", 2)
    run.save("hang")
    run.wait_for_note("spec", life=1)
    run.save("serve")
    run.wait_for("rolled")

    assert len(run.all("reloading")) == 2
    assert not run.all("broken") and not run.all("forced")


def test_a_change_while_a_process_is_still_ending_costs_no_second_start(supervise: Supervise) -> None:
    run = supervise(code="refuse", stop_timeout=2.0)
    run.wait_for("ready")
    run.save("serve")
    run.wait_for_note("message")
    run.save("serve")
    run.wait_for("reloading", 2)
    run.wait_for("rolled")

    assert len(run.all("started")) == 2
    assert run.wait_for("forced")["blocked"][0]["offset"] == 17


def test_processes_of_the_code_before_that_fail_meanwhile_break_nothing(supervise: Supervise) -> None:
    run = supervise(code="wait_and_fail", processes=2)
    run.wait_for_note("spec", 2)
    run.save("serve")
    run.wait_for("reloading")
    (run.folder / "go").touch()
    run.wait_for("rolled")

    assert not run.all("broken")
    assert len(run.all("ready")) == 2


def test_one_signal_ends_a_supervisor_that_waits_and_no_thread_is_left(supervise: Supervise) -> None:
    run = supervise(code="fail", processes=2)
    run.wait_for("broken")
    run.signal(signal.SIGINT)

    assert run.code() == 0
    assert run.wait_for("over")["threads"] == []
    assert run.wait_for("over")["foreign"] == []


def test_hup_tries_code_again_that_could_not_be_run(supervise: Supervise) -> None:
    run = supervise(code="fail")
    run.wait_for("broken")
    run.signal(signal.SIGHUP)

    run.wait_for("broken", 2)
    assert not run.all("reloading")


def test_a_process_that_served_and_died_is_replaced_at_once(supervise: Supervise) -> None:
    run = supervise(code="serve")
    os.kill(run.wait_for("ready")["pid"], signal.SIGKILL)
    run.wait_for("ready", 2)

    assert run.wait_for("replaced")["how"] == "was killed by SIGKILL"
    assert not run.all("broken")


def test_a_change_ends_the_pauses_of_a_crash_loop(supervise: Supervise) -> None:
    run = supervise(code="crash", min_life=600)
    run.wait_for("replaced", 2)
    run.save("serve")
    run.wait_for("rolled")

    assert len(run.all("started")) == 3
