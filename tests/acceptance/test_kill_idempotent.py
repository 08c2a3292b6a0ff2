"""`idempotent_by` through kills: what was over when its process was killed is not run again, though it comes again."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.names import seen_topic

from .driver import APP

if TYPE_CHECKING:
    from .conftest import SetStage
    from .driver import Stage

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def known(stage: Stage) -> set[int]:
    """The ids of messages that are over: Kafka has them."""
    return {int(message.key or b"") for message in stage.client.stream(seen_topic(stage.topic, stage.app))}


def test_only_what_was_in_progress_runs_twice(set_stage: SetStage) -> None:
    """In progress is also whose id is not confirmed: how many those are hangs on the machine.

    Without ids, up to 2,000 messages beyond that come again after each kill.
    """
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
    killed: list[int] = []
    over: list[set[int]] = []
    for handled in (1_000, 2_500, 4_000):
        stage.wait_handled(handled + chance.randrange(500))
        victim = next(pid for pid in tree.workers() if pid not in killed)
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)
        over.append(known(stage))
        tree.wait_ready(1 + len(killed))
    account = stage.wait_all(180)
    assert tree.stop() == exits.OK

    ends = Counter(call.id for call in stage.calls() if call.is_end)
    print(account, "ran to their end twice", sum(count - 1 for count in ends.values()))
    assert account.lost == set()
    assert all(over)
    for number, ids in enumerate(over, 1):
        assert [c for c in stage.calls() if c.pid not in killed[:number] and c.id in ids] == []
