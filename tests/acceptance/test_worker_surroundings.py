"""`elsa worker` where something around it is broken: no folder for its slots, a full disk, a topic that is missing."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from elsa import exits

from .driver import until

if TYPE_CHECKING:
    from .conftest import SetStage

pytestmark = pytest.mark.broker


def test_a_runtime_folder_that_can_not_be_used_is_named(set_stage: SetStage, tmp_path: Path) -> None:
    stage = set_stage()
    stage.produce(6)
    occupied = tmp_path / "occupied"
    occupied.write_text("a file, no folder")
    tree = stage.start("--processes", "2", json_logs=False, env={"ELSA_RUNTIME_DIR": str(occupied / "slots")})

    assert tree.code() == exits.USAGE
    assert str(occupied) in tree.log
    assert "ELSA_RUNTIME_DIR" in tree.log
    assert "Traceback" not in tree.log
    assert tree.members() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_logs_that_can_not_be_written_cost_no_message(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.produce(600)
    tree = stage.start("--burst", "--processes", "2", log="/dev/full")

    assert tree.code() == exits.OK
    account = stage.account()
    assert (account.lost, account.duplicates) == (set(), 0)


def test_a_topic_that_is_missing_in_production_is_waited_for(set_stage: SetStage) -> None:
    stage = set_stage(environment="production", metadata_refresh=1)
    stage.topic = f"{stage.topic}-later"
    tree = stage.start()
    until(lambda: tree.events("topic_missing"), "the absence is told")
    (told,) = tree.events("topic_missing")
    assert told["topic"] == stage.topic
    assert f"elsa topics create {stage.topic}" in told["hint"]

    stage.client.topics.create(stage.topic, partitions=6)
    try:
        stage.produce(60)
        account = stage.wait_all()
        assert tree.stop() == exits.OK
    finally:
        stage.client.topics.delete(stage.topic)
    assert (account.lost, account.duplicates) == (set(), 0)


def test_usr1_dumps_the_stacks_of_all_processes_and_nothing_ends(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.produce(6, seconds=1)
    tree = stage.start("--processes", "2")
    tree.wait_ready(2)
    pids = tree.workers()

    tree.signal(signal.SIGUSR1)
    until(
        lambda: tree.log.count("most recent call first") >= 3 and "elsa/worker/group.py" in tree.log, "stacks are shown"
    )
    stage.wait_all()

    assert tree.workers() == pids
    assert tree.stop() == exits.OK
