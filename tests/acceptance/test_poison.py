"""A message that kills its worker process is found and given up; whoever ran beside it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from elsa import exits

from .driver import APP, until

if TYPE_CHECKING:
    from .conftest import SetStage

pytestmark = [pytest.mark.broker, pytest.mark.slow]

GUILTY, INNOCENT = 17, 64

#: what kills a process from inside; the last is what the system does when memory runs out
WAYS = {
    "exit": "os._exit(3)",
    "fault": "import ctypes; ctypes.string_at(0)",
    "memory": "import signal; os.kill(PID, signal.SIGKILL)",
}

KILLING = (
    APP.replace(
        "    note(0, ctx, event)\n",
        "    note(0, ctx, event)\n    if event.id == {guilty}:\n        wait_for_others()\n        {way}\n",
    )
    .replace(
        "@app.handler",
        '''def wait_for_others():
    """Until the others are under way beside this one, or it runs alone."""
    end = time.monotonic() + 3
    while time.monotonic() < end:
        records = [RECORD.unpack(data) for data in iter_records() if RECORD.unpack(data)[2] == PID]
        begun = sum(kind == 0 for kind, *_ in records) - sum(kind == 1 for kind, *_ in records)
        if begun > {innocent}:
            return
        time.sleep(0.01)


def iter_records():
    with open(os.environ["TREE_JOURNAL"], "rb") as file:
        while data := file.read(RECORD.size):
            yield data


@app.handler''',
        1,
    )
    .replace(
        "    if event.seconds:",
        # one after the other they would take a minute
        "    if event.seconds and sum(RECORD.unpack(data)[4] == event.id for data in iter_records()) < 3:",
    )
)


@pytest.mark.parametrize("way", WAYS)
def test_exactly_the_guilty_one_is_a_dead_letter(set_stage: SetStage, way: str) -> None:
    stage = set_stage(1, session_timeout=6.0)
    stage.source = KILLING.replace("{guilty}", str(GUILTY)).replace("{way}", WAYS[way])
    stage.source = stage.source.replace("{innocent}", str(INNOCENT))
    stage.options = {"ordering": "none", "concurrency": INNOCENT + 1}
    stage.produce(INNOCENT + 1, seconds=1.0, partitions=1)
    tree = stage.start()
    dead = f"{stage.topic}.{stage.app}.dlq"

    def found() -> list[int]:
        if dead not in stage.client.topics.list(internal=True):
            return []
        return [int((m.header("elsa-origin") or b"").rsplit(b":")[-1]) for m in stage.client.stream(dead)]

    until(found, "something is given up", 120)
    until(lambda: stage.committed().get(0) == INNOCENT + 1, "everything is over", 120)
    assert tree.stop() == exits.OK

    account = stage.account()
    starts = [call for call in stage.calls() if not call.is_end and call.id == GUILTY]
    print(account, "the guilty one began", len(starts))
    assert found() == [next(call.offset for call in starts)]
    assert account.lost == {GUILTY}
    assert len(starts) == 3
    (letter,) = stage.client.stream(dead)
    assert letter.header("elsa-reason") == b"poison"


def test_an_orderly_end_and_a_rolling_restart_blame_nobody(set_stage: SetStage) -> None:
    """Also when a call is still running when the process has to go."""
    stage = set_stage(1, drain_timeout=0.5, stop_timeout=2.0)
    stage.options = {"retry": None}
    stage.produce(1, seconds=6.0, partitions=1)
    for number in range(3):
        tree = stage.start()
        until(lambda number=number: len(stage.calls()) == number + 1, "its call begins")  # type: ignore[misc]  # binds
        tree.stop()
    tree = stage.start()
    stage.wait_all()
    until(lambda: stage.committed().get(0) == 1, "it is committed")
    assert tree.stop() == exits.OK

    assert f"{stage.topic}.{stage.app}.dlq" not in stage.client.topics.list(internal=True)
