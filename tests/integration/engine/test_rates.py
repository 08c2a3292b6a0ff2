"""`rate="50/s"` holds for the whole group: its members share it by their partitions, and nobody waits in a thread.

Retries are starts like any other. When a member goes, the others get its part.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Log, Seen, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Groups, Topics

pytestmark = pytest.mark.broker

RATE = 50
#: a start that was allowed takes a moment to be made; on a busy machine some come together
SLACK = 4


def most_in_a_second(moments: list[float]) -> int:
    """The most starts in any second."""
    most = begin = 0
    moments = sorted(moments)
    for end, moment in enumerate(moments):
        while moment - moments[begin] >= 1.0:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def test_no_second_has_more_starts_and_retries_are_starts(app: elsa.App, topic: Topics, log: Log) -> None:
    """Every third message fails once; four partitions wait for their turns, and hold no thread meanwhile."""
    name = topic(4)
    starts: Seen[float] = Seen()

    @app.handler(name, ordering="key", rate=f"{RATE}/s", concurrency=20, retry=elsa.Retry(max_attempts=2, base=0))
    def handle(body: str, ctx: elsa.Context) -> None:
        starts(time.monotonic())
        if int(body) % 3 == 0 and ctx.attempt == 1:
            raise ValueError("not yet")

    app.produce(name, [elsa.Record(str(n), key=f"k{n}", partition=n % 4) for n in range(90)])
    with app:
        starts.wait(20)
        pool: Any = app._runtime._executors.of(handle)
        until(lambda: pool._idle == len(pool._threads), "no thread is busy")
        assert len(starts) < 120
        starts.wait(120)
        for partition in range(4):
            log.wait_committed(app.name, name, 90 // 4 + (partition < 90 % 4), partition)

    moments = starts.items
    assert len(moments) == 120
    assert most_in_a_second(moments) <= RATE + SLACK
    assert moments[-1] - moments[0] >= 119 / RATE - 0.1


def test_members_share_it_by_their_partitions_and_take_over_each_others_part(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups
) -> None:
    """Of two topics one has three quarters of the partitions; each member has some of both."""
    names, members = [topic(6), topic(2)], group()
    apps = [make_app(), make_app()]
    starts: list[Seen[float]] = [Seen(), Seen()]

    def declare(app: elsa.App, seen: Seen[float]) -> None:
        @app.handler(names, group=members, rate=RATE, name=f"limited-{app.name}", ordering="none")
        async def handle(body: str) -> None:
            seen(time.monotonic())

    for app, seen in zip(apps, starts, strict=True):
        declare(app, seen)
    with apps[0]:
        with apps[1]:
            for app in apps:
                assert app.wait_ready()
            until(lambda: [len(app._runtime.snapshots()) for app in apps] == [4, 4], "they share")
            for name, count in zip(names, (6, 2), strict=True):
                apps[0].produce(name, [elsa.Record(str(n), partition=n % count) for n in range(200 * count)])
            for seen in starts:
                seen.wait(50)
            both = [len(seen) for seen in starts]
        shared = [seen.items[:count] for seen, count in zip(starts, both, strict=True)]
        alone = time.monotonic()
        starts[0].wait_for(lambda items: sum(one > alone for one in items) >= 100, "the whole rate")
    rest = [one for one in starts[0].items if one > alone]

    assert most_in_a_second([*shared[0], *shared[1]]) <= RATE + SLACK
    for moments in shared:
        assert most_in_a_second(moments) <= RATE / 2 + SLACK
    # also while the partitions moved
    assert most_in_a_second([*starts[0].items, *starts[1].items]) <= RATE + SLACK
    assert most_in_a_second(rest) >= RATE - SLACK
