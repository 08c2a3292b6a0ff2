"""A replay that is killed, interrupted or overtaken, and said again: each dead letter is there once for its readers.

Copies and marks are one transaction, and whoever replays the same topic takes the transactional id over, so that what
a dead predecessor has begun is aborted before the marks are read.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from tests.integration.engine.waiting import until

if TYPE_CHECKING:
    from tests.integration.cli.conftest import Elsa

    from .conftest import MakeWorld, World

pytestmark = pytest.mark.broker


def copied(world: World) -> int:
    """How much lies on the retry topic."""
    return sum(end for _, end in world.app.topics.watermarks(world.retry).values())


def check_each_once(world: World, count: int) -> None:
    found = Counter(world.values(world.retry))

    assert len(found) == count
    assert set(found.values()) == {1}
    assert world.letters.summary().open == 0


@pytest.mark.parametrize("seed", range(2))
def test_each_is_there_once_however_often_it_was_killed(make_world: MakeWorld, run: Elsa, seed: int) -> None:
    chance = random.Random(seed)
    world, count = make_world(), 20_000
    world.app.topics.create(world.retry, partitions=2)
    world.die(count)
    codes = []
    for most in (1, 1, 3_000, 3_000, 10_000):
        enough = copied(world) + chance.randint(1, most)
        process = run.start("dlq", "replay", world.name)
        until(lambda: copied(world) >= enough or process.poll() is not None, "something is copied", 60)  # noqa: B023 - called here
        # anywhere in what follows: reading, sending, committing
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        codes.append(process.wait(60))
    world.letters.replay()

    assert -signal.SIGKILL in codes
    check_each_once(world, count)


def test_two_at_once_send_each_once(make_world: MakeWorld, run: Elsa) -> None:
    world, count = make_world(), 5_000
    world.die(count)
    processes = [run.start("dlq", "replay", world.name), run.start("dlq", "replay", world.name)]
    ends = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    world.letters.replay()

    for _, err, code in ends:
        assert code in (exits.OK, exits.FAILED), err
        assert code == exits.OK or b"another one has begun to replay or drop" in err
    check_each_once(world, count)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_after_the_transaction(make_world: MakeWorld, run: Elsa, number: signal.Signals) -> None:
    world = make_world()
    world.app.topics.create(world.retry, partitions=2)
    world.die(60)
    process = run.start("dlq", "replay", world.name, "--rate", "10")
    until(lambda: copied(world) > 0, "something is copied")
    process.send_signal(number)
    out, err = (text.decode() for text in process.communicate(timeout=60))

    assert process.returncode == exits.INTERRUPTED
    assert out.startswith("replayed ")
    assert "interrupted; say it again to go on: none is done twice" in err
    assert 0 < world.letters.replay().done < 60
    check_each_once(world, 60)


def test_a_rate_makes_many_small_transactions(make_world: MakeWorld) -> None:
    world = make_world()
    world.die(30)
    told: list[int] = []
    world.letters.replay(rate=40, progress=lambda result: told.append(result.done))

    # half a second's worth each; told once more at the end
    assert told == [20, 30, 30]
    check_each_once(world, 30)
