"""`elsa worker -Q hi:3,lo:1 -c 1`: while both topics have a backlog, three of four handled messages are hi's.

One worker, and two topics of each kind: sync handlers share one thread, async ones the one place on the loop. When hi
has nothing left, lo gets everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

import elsa
from elsa import exits

from .driver import ASYNC_APP, Event, until

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

    from .conftest import SetStage
    from .driver import Call

pytestmark = pytest.mark.broker

COUNT = 900
#: which topic a message is of is its id modulo 4
HANDLERS = """
def handle(event: Event, ctx: elsa.Context) -> None:
    note(0, ctx, event)
    time.sleep(event.seconds)
    note(1, ctx, event)


async def handle_async(event: Event, ctx: elsa.Context) -> None:
    note(0, ctx, event)
    await asyncio.sleep(event.seconds)
    note(1, ctx, event)


for topic, function in zip(TOPICS, (handle, handle, handle_async, handle_async)):
    app.handler(topic, name=f"of {topic}")(function)
"""


def shares(calls: list[Call], hi: int, lo: int) -> tuple[int, int]:
    """How many of each were handled while both waited."""
    kinds = [call.id % 4 for call in calls if call.is_end and call.id % 4 in (hi, lo)]
    both = max(kinds.index(hi), kinds.index(lo))
    last = min(max(at for at, kind in enumerate(kinds) if kind == one) for one in (hi, lo))
    window = kinds[both:last]
    return window.count(hi), window.count(lo)


def test_places_go_to_the_topics_by_their_weights(set_stage: SetStage, topic: Topics) -> None:
    stage = set_stage()
    topics = [topic(2), topic(2), topic(2), topic(2)]
    stage.source = f"{ASYNC_APP[: ASYNC_APP.index('@app.handler')]}TOPICS = {topics!r}\n{HANDLERS}"
    for number, name in enumerate(topics):
        bodies = [msgspec.json.encode(Event(4 * n + number, 0.001)) for n in range(COUNT)]
        stage.client.produce(name, [elsa.Record(body, partition=n % 2) for n, body in enumerate(bodies)])
    hi, lo, hi_async, lo_async = topics
    tree = stage.start("-Q", f"{hi}:3,{lo}:1,{hi_async}:3,{lo_async}:1", "-c", "1")
    until(lambda: stage.records == 8 * COUNT, "everything is handled")
    assert tree.stop() == exits.OK

    for kind, (first, second) in {"sync": (0, 1), "async": (2, 3)}.items():
        of_hi, of_lo = shares(stage.calls(), first, second)
        print(f"{kind}: {of_hi} of hi and {of_lo} of lo while both waited")
        assert of_hi + of_lo > COUNT
        assert 0.65 < of_hi / (of_hi + of_lo) < 0.85
