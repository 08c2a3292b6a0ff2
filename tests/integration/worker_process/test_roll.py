"""HUP renews the worker processes one by one: each takes its predecessor's slot, and the next waits until it is ready.

A bad deploy costs one process: when its successor fails at its start, the roll ends and the others stay.
"""

from __future__ import annotations

import signal
from typing import Any

import pytest

Supervise = Any


def test_processes_are_renewed_one_by_one_and_keep_their_slots(supervise: Supervise) -> None:
    run = supervise(processes=3, stop_timeout=9)
    run.wait_for("ready", 3)
    run.signal(signal.SIGHUP)
    run.wait_for("rolled")

    told = [note["message"] for note in run.journal("message")]
    assert told == [{"type": "stop", "deadline": 9, "leave": False}] * 3
    order = [(e["kind"], e["worker"]) for e in run.events if e["kind"] in ("started", "ready")][6:]
    assert order == [(kind, worker) for worker in range(3) for kind in ("started", "ready")]
    assert [note["spec"]["slot"] for note in run.journal("spec", life=1)] == [40, 41, 42]
    assert not run.all("replaced")
    assert not run.journal("HUP")


@pytest.mark.parametrize("failing", ["fail", "die", "fail_after_greeting"])
def test_a_successor_that_fails_at_its_start_stops_the_roll_and_keeps_the_others(
    supervise: Supervise, failing: str
) -> None:
    run = supervise({"0": ["serve", failing, "serve"]}, processes=3)
    run.wait_for("ready", 3)
    run.signal(signal.SIGHUP)
    failed = run.wait_for("roll_failed")
    run.wait_for("ready", 2, worker=0)

    assert failed["worker"] == 0
    assert "the others were kept" in failed["text"]
    assert len(run.all("started", worker=1)) == len(run.all("started", worker=2)) == 1
    assert run.process.poll() is None


def test_a_successor_that_is_late_is_named_and_the_roll_goes_on(supervise: Supervise) -> None:
    run = supervise({"0": ["serve", "hang"]}, processes=2, ready_timeout=0.3)
    run.wait_for("ready", 2)
    run.signal(signal.SIGHUP)
    run.wait_for("rolled")

    assert run.wait_for("roll_late")["worker"] == 0
    # it may be late as well
    run.wait_for("ready", 3)
    assert len(run.all("ready", worker=1)) == 2


def test_a_process_that_refuses_to_be_renewed_is_killed_at_the_deadline(supervise: Supervise) -> None:
    run = supervise({"0": ["refuse", "serve"]}, stop_timeout=0.2)
    run.wait_for("ready")
    run.signal(signal.SIGHUP)
    run.wait_for("rolled")

    assert run.wait_for("forced")["blocked"][0]["offset"] == 17


def test_a_second_wish_during_a_roll_begins_anew_with_the_place_in_hand(supervise: Supervise) -> None:
    run = supervise({"1": ["refuse", "serve"]}, processes=3, stop_timeout=1.0)
    run.wait_for("ready", 3)
    run.signal(signal.SIGHUP)
    run.wait_for_note("message", index=1)
    run.signal(signal.SIGHUP)
    run.wait_for("rolled")

    started = [event["worker"] for event in run.all("started")][3:]
    assert started == [0, 1, 0, 2]
    assert not run.all("replaced")


def test_the_number_of_processes_may_fall_and_rise_with_the_deploys(supervise: Supervise) -> None:
    run = supervise(processes=3)
    run.wait_for("ready", 3)
    run.set(processes=1)
    run.signal(signal.SIGHUP)
    run.wait_for("ended", 2)
    run.wait_for("rolled")
    run.set(processes=2)
    run.signal(signal.SIGHUP)
    run.wait_for("rolled", 2)

    assert run.wait_for("ready", 2, worker=1)["slot"] == 41
    assert {event["worker"] for event in run.all("ended")} == {1, 2}
    assert len(run.all("started", worker=2)) == 1
    assert not run.all("replaced")


def test_a_stop_during_a_roll_ends_everything(supervise: Supervise) -> None:
    run = supervise({"0": ["serve", "hang"]}, processes=2)
    run.wait_for("ready", 2)
    run.signal(signal.SIGHUP)
    run.wait_for("started", 2, worker=0)
    run.signal(signal.SIGTERM)

    assert run.code() == 0
    assert not run.all("rolled")
