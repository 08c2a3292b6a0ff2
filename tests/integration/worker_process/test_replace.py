"""A worker process that dies is replaced: at once the first time, later and later in a crash loop.

One that can't even start ends the supervisor, unless its place has served before.
"""

from __future__ import annotations

import os
import signal
from typing import Any

Supervise = Any


def test_a_killed_process_is_replaced_at_once_with_its_slot_and_positions(supervise: Supervise) -> None:
    run = supervise(processes=2, min_life=600)
    victim = run.wait_for("ready", worker=1)
    run.wait_for("ready", worker=0)
    os.kill(victim["pid"], signal.SIGKILL)
    successor = run.wait_for("ready", 2, worker=1)

    assert run.wait_for("replaced")["text"] == "worker process died, replacing it at once"
    assert run.wait_for("replaced")["how"] == "was killed by SIGKILL"
    assert successor["pid"] != victim["pid"]
    first, second = (note["spec"] for note in run.journal("spec", index=1))
    assert (first["slot"], first["positions"]) == (None, {})
    assert second["slot"] == victim["slot"] == 41
    assert second["positions"]["prices"]["1"] == 0
    assert len(run.all("started", worker=0)) == 1


def test_a_process_that_somebody_else_stops_is_replaced(supervise: Supervise) -> None:
    run = supervise()
    os.kill(run.wait_for("ready")["pid"], signal.SIGTERM)
    run.wait_for("ready", 2)

    assert run.wait_for("replaced")["how"] == "ended with exit code 0"


def test_case_37_a_crash_loop_keeps_the_minimum_life_from_the_second_death_on(supervise: Supervise) -> None:
    run = supervise({"0": ["crash"]}, min_life=2.0)
    starts = [run.wait_for("started", count)["at"] for count in (1, 2, 3)]

    assert starts[1] - starts[0] < 1.8
    assert 1.8 <= starts[2] - starts[1] <= 4
    assert [event["text"] for event in run.all("replaced")][:2] == [
        "worker process died, replacing it at once",
        "worker process died again, replacing it later",
    ]


def test_case_37_a_start_that_fails_seven_times_succeeds_on_the_eighth(supervise: Supervise) -> None:
    run = supervise({"0": ["crash", *["fail"] * 7, "serve"]}, min_life=0.2, longest_backoff=0.2)
    run.wait_for("ready", 2)

    assert len(run.journal("spec")) == 9
    assert run.all("replaced")[-1]["error"] == "no module named 'shop'"
    assert run.process.poll() is None


def test_a_first_start_that_fails_ends_the_supervisor_with_its_text_and_code(supervise: Supervise) -> None:
    run = supervise({"1": ["fail"]}, processes=2)

    assert run.code() == 3
    assert run.wait_for("failed")["error"] == "no module named 'shop'"
    assert len(run.all("started")) == 2


def test_a_process_that_dies_before_its_greeting_ends_the_supervisor(supervise: Supervise) -> None:
    run = supervise({"0": ["die"]})

    assert run.code() == 7
    assert run.wait_for("failed")["error"] == "worker process 0 ended with exit code 11 before it had started"


def test_a_failure_that_no_restart_can_heal_ends_the_supervisor(supervise: Supervise) -> None:
    run = supervise({"0": ["fail_late"]})

    assert run.code() == 5
    assert run.wait_for("failed")["error"] == "orders[3]: offset 5 is out of range"


def test_the_supervisor_ends_when_all_processes_have_finished_their_work(supervise: Supervise) -> None:
    run = supervise({"0": ["burst"], "1": ["burst"]}, processes=2, max_messages=5)

    assert run.code() == 0
    assert sorted(note["spec"]["max_messages"] for note in run.journal("spec")) == [2, 3]
    assert {event["reason"] for event in run.all("ended")} == {"burst"}
    assert not run.all("replaced")


def test_a_process_that_never_greets_is_named(supervise: Supervise) -> None:
    run = supervise({"0": ["hang"]}, silent_after=0.2)

    assert run.wait_for("silent")["worker"] == 0
    assert run.process.poll() is None


def test_the_apps_own_number_of_processes_is_adopted(supervise: Supervise) -> None:
    run = supervise(processes=1, settings={"processes": 3, "stop_timeout": 4})
    run.wait_for("ready", 3)
    run.signal(signal.SIGTERM)

    assert run.code() == 0
    assert {note["message"]["deadline"] for note in run.journal("message")} == {4}
    assert sorted(note["spec"]["processes"] for note in run.journal("spec")) == [1, 3, 3]


def test_surplus_processes_are_stopped_when_the_app_wants_fewer(supervise: Supervise) -> None:
    run = supervise(processes=3, settings={"processes": 1})
    run.wait_for("ended", 2)

    assert {event["worker"] for event in run.all("ended")} == {1, 2}
    assert run.process.poll() is None


def test_a_process_that_can_not_be_told_anything_any_more_is_ended_and_replaced(supervise: Supervise) -> None:
    run = supervise({"0": ["hang_up", "serve"]}, stop_timeout=0.2)
    run.wait_for("ready")

    assert run.wait_for("replaced")["code"] == -signal.SIGKILL
