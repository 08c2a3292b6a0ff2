"""`idempotent_by` through kills: what was over when its process was killed is not run again, though it comes again."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from elsa import exits

from .driver import APP

if TYPE_CHECKING:
    from .conftest import SetStage

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def test_only_what_was_in_progress_runs_twice(set_stage: SetStage) -> None:
    """Without ids, up to 2,000 messages beyond that come again after each kill."""
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    stage = set_stage(commit_interval=5.0)
    by_id = 'idempotent_by=lambda message: json.loads(message.value)["id"]'
    stage.source = APP.replace('**PLAN["options"]', by_id + ', **PLAN["options"]')
    stage.options = {"ordering": "key", "concurrency": 8}
    stage.produce(6_000, seconds=0.004, keys=300)
    tree = stage.start()
    tree.wait_ready(1)
    killed = []
    for handled in (1_000, 2_500, 4_000):
        stage.wait_handled(handled + chance.randrange(500))
        victim = next(pid for pid in tree.workers() if pid not in killed)
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)
        tree.wait_ready(1 + len(killed))
    account = stage.wait_all(180)
    assert tree.stop() == exits.OK

    ends = Counter(call.id for call in stage.calls() if call.is_end)
    twice = sum(count - 1 for count in ends.values())
    print(account, "ran to their end twice", twice)
    assert account.lost == set()
    # between its end and the confirmation of its id: what runs at once, and what the producer holds for a moment
    assert twice <= len(killed) * 100
