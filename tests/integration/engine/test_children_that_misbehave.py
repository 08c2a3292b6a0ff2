"""What goes wrong between a worker and its children may cost a call, and never a message that another call ran.

A child can tell what nobody can read, be killed while it has nothing to do, or still be starting when its partition
goes away. None of that may be taken for the end of a message, fail one that was never run, or start anything in a
partition that is being given up.
"""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.worker.executors.processes import ChildProcess, _load
from elsa.worker.executors.wire import Call, End

from .jobs import is_alive
from .waiting import Log, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .jobs import Jobs

pytestmark = pytest.mark.broker

_SLOW_END = """

@app.on_shutdown
def ended():
    if is_child:
        time.sleep(1.5)
    tell("shutdown", -1)
"""


def test_progress_that_nobody_can_read_fails_its_own_call_and_shifts_no_other(jobs: Callable[..., Jobs]) -> None:
    """Were the child used on, the end of each call would be taken for that of the next one."""
    found = jobs("concurrency=1, retry=None")
    found.send(("beat awkwardly", 1), ("nothing", 2), ("value", 3), ("nothing", 4))
    with found.app:
        dead = found.dead(2)
        found.committed(4)

    assert sorted(json.loads(letter.value)["n"] for letter in dead) == [1, 3]
    texts = {json.loads(letter.value)["n"]: letter.header("elsa-error-message").decode() for letter in dead}
    assert "ctx.heartbeat takes what JSON can say, not a Awkward" in texts[1]
    assert texts[3] == "plain"


def test_a_child_that_is_killed_while_it_has_nothing_to_do_fails_no_message(
    jobs: Callable[..., Jobs], log: Log
) -> None:
    found = jobs("concurrency=1, retry=None")
    found.send(("nothing", 1))
    with found.app:
        found.committed(1)
        ((*_, pid),) = found.told("nothing")
        os.kill(pid, signal.SIGKILL)
        # gone, but not reaped: a call that it gets while it dies fails with it
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        found.send(("nothing", 2))
        found.committed(2)

    (_, _, first), (_, _, second) = found.told("nothing")
    assert first == pid != second
    assert log.partitions(f"{found.name}.{found.app.name}.dlq") == 0


def test_a_call_that_has_just_been_handed_over_hears_of_the_stop(jobs: Callable[..., Jobs]) -> None:
    found = jobs()
    child = ChildProcess("polite")
    try:
        child.load(_load(next(iter(found.app.registry)), found.app.settings))
        body = json.dumps({"do": "polite", "n": 1}).encode()
        for offset in range(100):
            fields = (found.name, 0, offset, None, body, None, (0, 0), None)
            child.line.send("call", Call([fields], "g", 1, 1))
            child.tell_stopping()
            end = child.end(5, lambda _: None)
            assert isinstance(end, End), f"call {offset} never heard of the stop"
    finally:
        child.kill()


def test_nothing_begins_in_a_child_that_starts_while_its_partition_goes(
    jobs: Callable[..., Jobs], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline of the drain passes before the child can be killed, or told anything."""
    monkeypatch.setenv("JOBS_SLOW", "2")
    found = jobs("concurrency=1", drain=0.2)
    found.send(("nothing", 1), ("nothing", 2))
    found.app.start()
    ((*_, pid),) = found.wait_told(1, "import")
    found.app.stop(3)
    until(lambda: not is_alive(pid), "the child has ended")

    assert found.told("nothing") == []
    assert log.committed(found.app.name, found.name) in (None, 0)


def test_a_child_whose_parent_goes_while_it_starts_ends_without_a_word(
    jobs: Callable[..., Jobs], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOBS_SLOW", "0.3")
    found = jobs()
    early, later = ChildProcess("early"), ChildProcess("later")
    later.line.send("load", _load(next(iter(found.app.registry)), found.app.settings))
    found.wait_told(1, "import")
    for child in (early, later):
        child.line.close()

    assert [child.wait() for child in (early, later)] == [exits.WORKER_FAILED] * 2
    assert capfd.readouterr().err == ""


def test_a_stop_waits_for_children_that_take_a_moment_to_shut_down(jobs: Callable[..., Jobs]) -> None:
    found = jobs("concurrency=1", extra=_SLOW_END)
    found.send(("nothing", 1))
    found.app.start()
    found.committed(1)
    ((*_, pid),) = found.told("nothing")
    is_clean = found.app._runtime.stop(10)

    assert is_clean
    assert not is_alive(pid)
    assert pid in {one for *_, one in found.told("shutdown")}
