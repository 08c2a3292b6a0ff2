"""`kill -9` while messages go through retry topics: each is handled to its end, none is lost on the way."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from elsa import exits

from .driver import APP

if TYPE_CHECKING:
    from .conftest import SetStage

pytestmark = [pytest.mark.broker, pytest.mark.slow]

#: every fifth message fails at first, and comes back
FAILING = APP.replace(
    "    note(0, ctx, event)\n",
    "    note(0, ctx, event)\n    if event.id % 5 == 0 and ctx.attempt == 1:\n        raise ValueError\n",
).replace('**PLAN["options"]', 'retry=elsa.Retry(base=1, jitter=False, where="topic"), **PLAN["options"]')


def test_killed_processes_lose_no_message_that_waits_or_moves(set_stage: SetStage) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    stage = set_stage()
    stage.source = FAILING
    stage.options = {"ordering": "none", "concurrency": 8}
    stage.produce(10_000, seconds=0.002)
    tree = stage.start("--processes", "2")
    tree.wait_ready(2)
    killed: list[int] = []
    for handled in (chance.randrange(1_000, 3_000), chance.randrange(4_000, 6_000), chance.randrange(7_000, 8_500)):
        stage.wait_handled(handled)
        victim = chance.choice([pid for pid in tree.workers() if pid not in killed])
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)
        tree.wait_ready(2 + len(killed))
    account = stage.wait_all(180)
    assert tree.stop() == exits.OK

    print(account)
    assert account.lost == set()
    # second attempts are none; what was done, or copied, and not committed yet when its process was killed comes again
    assert account.duplicates - 2_000 <= account.in_progress(killed) + 2_000 * len(killed)
