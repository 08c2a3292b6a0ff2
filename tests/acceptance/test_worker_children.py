"""Handlers in child processes of a real worker: seen from outside, killed with it, and never left behind.

The children of a killed worker process end at once, also one that is deep inside C code and runs no Python: their
messages are another one's by then, and nothing may run twice at the same time. A second ctrl-C leaves nobody either.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from elsa import exits

from .driver import APP, until
from .test_worker_metrics import url

if TYPE_CHECKING:
    from .conftest import SetStage
    from .driver import Tree

pytestmark = pytest.mark.broker

CTRL_C = b"\x03"
#: those that hang: the first one keeps even the interpreter's lock
HANGING = 3
SOURCE = APP.replace("import json", "import fcntl, itertools, json").replace(
    "    if event.seconds:",
    f"""\
    lock = open(f"lock-{{event.id}}", "w")
    try:
        # the kernel lets go of it when this process ends
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        open(f"twice-{{event.id}}", "w")
    with open("progress", "a") as file:
        file.write(json.dumps([event.id, ctx.attempt, ctx.progress]) + "\\n")
    ctx.heartbeat({{"id": event.id, "attempt": ctx.attempt}})
    if event.id == {HANGING} and ctx.attempt == 1:
        note(1, ctx, event)
        raise elsa.RetryLater(0)
    if event.id < {HANGING} and not os.path.exists("go on"):
        sum(itertools.repeat(1, 10**10)) if event.id == 0 else time.sleep(60)
    lock.close()
    if event.seconds:""",
)


def running(base: str) -> tuple[int, list[dict[str, Any]]]:
    """The worker process, and what runs there, as /statusz says."""
    with urllib.request.urlopen(f"{base}/statusz", timeout=10) as answer:
        (process,) = json.loads(answer.read())["processes"]
    return process["pid"], (process["status"] or {}).get("running", [])


def wait_hanging(tree: Tree) -> tuple[int, list[dict[str, Any]]]:
    """Wait until the hanging calls show how far they are."""
    base = url(tree)
    until(lambda: [one["progress"] is not None for one in running(base)[1]] == [True] * HANGING, "the calls tell")
    return running(base)


def test_children_show_how_far_they_are_and_end_with_their_worker(set_stage: SetStage) -> None:
    stage = set_stage(partitions=1)
    stage.source = SOURCE
    stage.options = {"executor": "process", "ordering": "key", "concurrency": HANGING + 1}
    stage.produce(40, partitions=1, keys=40)
    tree = stage.start("--metrics-port", "0")
    # all that can be done is done, and told, while the first ones hang
    until(
        lambda: (found := stage.progress()) is not None and all(found.is_done(n) for n in range(HANGING, 40)),
        "the others are done",
    )
    worker, calls = wait_hanging(tree)

    assert sorted(call["offset"] for call in calls) == list(range(HANGING))
    for call in calls:
        assert call["progress"] == {"id": call["offset"], "attempt": 1}
        assert (call["handler"], call["attempt"]) == ("handlers.handle", 1)
    (stage.folder / "go on").touch()
    ended = {call.id for call in stage.calls() if call.is_end}
    children = {call.pid for call in stage.calls() if call.id not in ended}
    assert len(children) == HANGING
    os.kill(worker, signal.SIGKILL)
    until(lambda: children.isdisjoint(tree.members()), "the children are gone", 20)
    account = stage.wait_all()
    until(lambda: stage.committed() == {0: 40}, "everything is committed")
    assert tree.stop() == exits.OK

    print(account)
    again = {offset: count for (_, offset), count in account.started.items() if count > 1}
    # what was in progress runs once more; the one behind it had two attempts
    assert again == dict.fromkeys(range(HANGING + 1), 2)
    assert account.overlaps == []
    assert list(stage.folder.glob("twice-*")) == []
    told = [json.loads(line) for line in (stage.folder / "progress").read_text().splitlines()]
    assert [HANGING, 2, {"id": HANGING, "attempt": 1}] in told
    assert tree.members() == []


def test_a_second_ctrl_c_leaves_no_child_behind(set_stage: SetStage) -> None:
    keyboard, stdin = pty.openpty()
    try:
        stage = set_stage(partitions=1)
        stage.source = SOURCE
        stage.options = {"executor": "process", "ordering": "key", "concurrency": HANGING}
        stage.produce(HANGING, partitions=1, keys=HANGING)
        tree = stage.start("--metrics-port", "0", terminal=stdin)
        wait_hanging(tree)

        os.write(keyboard, CTRL_C)
        until(lambda: tree.events("stopping"), "the first one is seen")
        time.sleep(0.5)  # two that come together are one wish
        assert len(tree.members()) == 2 + HANGING
        os.write(keyboard, CTRL_C)

        assert tree.code(18) == exits.FORCED
        until(lambda: not tree.members(), "no process is left", 20)
        named = {entry["offset"] for entry in tree.events("forced_stop")}
        assert named == set(range(HANGING))
        assert all(entry["progress"] for entry in tree.events("forced_stop"))
    finally:
        os.close(keyboard)
        os.close(stdin)
