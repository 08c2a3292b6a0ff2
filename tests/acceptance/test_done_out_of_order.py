"""What is done above a slow message stays done, whatever becomes of the worker: duplicates are counted exactly.

One partition, by key: the head hangs, the next message waits a minute for its second attempt, a thousand others are
done. Then the process is killed, later the whole worker stopped in order, and the last one is set up otherwise.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from elsa import exits

from .driver import ASYNC_APP, until

if TYPE_CHECKING:
    from .conftest import SetStage
    from .driver import Stage

pytestmark = [pytest.mark.broker, pytest.mark.slow]

COUNT = 1_000
SOURCE = ASYNC_APP.replace(
    "    if event.seconds:",
    """\
    if event.id == 0:
        while not os.path.exists("go on"):
            await asyncio.sleep(0.01)
    if event.id == 1 and ctx.attempt < 3:
        with open("attempts", "a") as file:
            file.write(f"{ctx.attempt}\\n")
        raise elsa.RetryLater(60)
    if event.seconds:""",
)


def wait_told(stage: Stage, attempts: int) -> None:
    """Wait until the commit says that all is done but the first two, and how often the second has failed."""
    until(
        lambda: (
            (found := stage.progress()) is not None
            and found.base == 0
            and found.attempts == {1: attempts}
            and all(found.is_done(offset) for offset in range(2, COUNT))
        ),
        f"the commit tells what is done, and {attempts} attempts",
    )


def test_every_successor_runs_what_was_left_and_nothing_else(set_stage: SetStage) -> None:
    stage = set_stage(partitions=1)
    stage.source = SOURCE.replace('**PLAN["options"]', '**PLAN["options"], retry=elsa.Retry(max_attempts=5)')
    stage.options = {"ordering": "key", "concurrency": 50}
    stage.produce(COUNT, partitions=1, keys=COUNT)
    tree = stage.start("--drain-timeout", "1")
    wait_told(stage, 1)

    (victim,) = tree.workers()
    os.kill(victim, signal.SIGKILL)
    tree.wait_ready(2)
    wait_told(stage, 2)
    killed = stage.account()
    assert killed.duplicates == 2
    # the head is cancelled when its time to drain is over
    assert tree.stop() == exits.FORCED
    wait_told(stage, 2)

    stage.options = {"ordering": "partition", "max_in_flight": 3}
    other = stage.start("-c", "1")
    until(lambda: len(stage.calls()) > len(killed.calls), "the head runs again")
    (stage.folder / "go on").touch()
    account = stage.wait_all()
    until(lambda: stage.committed() == {0: COUNT}, "everything is committed")
    assert other.stop() == exits.OK

    runs = {offset: count for (_, offset), count in account.started.items() if count > 1}
    print(account, runs)
    # each of the three ran the head; of the other message every attempt counts on
    assert runs == {0: 3, 1: 3}
    assert (stage.folder / "attempts").read_text().split() == ["1", "2"]
    assert account.overlaps == []
