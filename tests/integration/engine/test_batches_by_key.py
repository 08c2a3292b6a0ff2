"""Batches under `ordering="key"`: several of one partition run at once, each with keys of its own.

A batch takes all its keys with it until it ends. However it ends, by a BatchError, `ack_through` or an exception, what
comes again comes before everything that waits for the same key.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Log, Seen

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


class Keys:
    """Which keys are being handled; a call whose keys are taken already fails the test."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: set[Any] = set()
        self.at_once = 0
        self.most_at_once = 0
        self.clashes: list[Any] = []

    def take(self, keys: set[Any]) -> None:
        with self._lock:
            self.clashes += self._taken & keys
            self._taken |= keys
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)

    def give_back(self, keys: set[Any]) -> None:
        with self._lock:
            self._taken -= keys
            self.at_once -= 1


@pytest.mark.parametrize("is_async", [False, True])
def test_however_batches_end_each_key_keeps_its_order(
    app: elsa.App, topic: Topics, log: Log, *, is_async: bool
) -> None:
    name = topic()
    keys, sizes = Keys(), Seen[int]()
    done: dict[Any, list[int]] = defaultdict(list)
    given: dict[Any, list[int]] = defaultdict(list)
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    lock = threading.Lock()

    def end(messages: list[elsa.Message]) -> Any:
        """Any end; what is done by it is written down."""
        with lock:
            kind = chance.choice(["all", "all", "through", "index", "fail"])
            at = chance.randrange(len(messages))
            finished = {"all": len(messages), "through": at + 1, "index": at, "fail": 0}[kind]
            for message in messages:
                given[message.key].append(message.offset)
            for message in messages[:finished]:
                done[message.key].append(message.offset)
        if kind == "through":
            return elsa.ack_through(messages[at].offset)
        if kind == "index":
            raise elsa.BatchError(at, ValueError("this one"))
        if kind == "fail":
            raise ValueError("none of them")
        return None

    options: dict[str, Any] = {
        "ordering": "key",
        "batch": 8,
        "batch_wait": 0.05,
        "concurrency": 3,
        "retry": elsa.Retry(max_attempts=1_000, base=0.02, factor=1),
    }

    if is_async:

        @app.handler(name, **options)
        async def handle(bodies: list[str], ctx: elsa.Context) -> Any:
            mine = {message.key for message in ctx.messages if message.key is not None}
            keys.take(mine)
            sizes(len(bodies))
            try:
                await asyncio.sleep(0.005)
                return end(ctx.messages)
            finally:
                keys.give_back(mine)
    else:

        @app.handler(name, **options)
        def handle_sync(bodies: list[str], ctx: elsa.Context) -> Any:
            mine = {message.key for message in ctx.messages if message.key is not None}
            keys.take(mine)
            sizes(len(bodies))
            try:
                threading.Event().wait(0.005)
                return end(ctx.messages)
            finally:
                keys.give_back(mine)

    names = ["a", "b", "c", "d", "e", "f", None]
    app.produce(name, [elsa.Record(str(n), key=chance.choice(names)) for n in range(400)])
    with app:
        log.wait_committed(app.name, name, 400)

    assert keys.clashes == []
    assert keys.most_at_once > 1
    assert max(sizes.items) > 1
    assert sorted(offset for offsets in done.values() for offset in offsets) == list(range(400))
    for key in set(done) - {None}:
        assert done[key] == sorted(done[key])
        # nothing was given to the handler before what lies below it was done
        firsts = list(dict.fromkeys(given[key]))
        assert firsts == sorted(firsts)
    assert log.partitions(f"{name}.{app.name}.dlq") == 0


def test_batches_of_one_partition_run_at_once_with_keys_of_their_own(app: elsa.App, topic: Topics, log: Log) -> None:
    """The first three calls end only when all three are in progress."""
    name = topic()
    seen: Seen[list[bytes | None]] = Seen()

    @app.handler(name, ordering="key", batch=4, batch_wait=0, concurrency=3)
    def handle(bodies: list[str], ctx: elsa.Context) -> None:
        seen([message.key for message in ctx.messages])
        seen.wait(3)

    app.produce(name, [elsa.Record(str(n), key=f"k{n % 24}") for n in range(48)])
    with app:
        log.wait_committed(app.name, name, 48)

    first = [set(keys) for keys in seen.items[:3]]
    assert sum(map(len, first)) == len(set.union(*first))
    assert sum(map(len, seen.items)) == 48
