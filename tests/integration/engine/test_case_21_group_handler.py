"""Case 21: a handler in a group gets every message once, knows where it came from, and keeps state per partition.

The context also has to be found in threads that the handler starts, and the generation is the group's own.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Log, Seen

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_each_message_is_handled_once_with_its_context(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic(2)
    seen: Seen[tuple[Any, ...]] = Seen()

    @app.handler(name)
    def handle(body: str, ctx: elsa.Context) -> None:
        def inside() -> None:
            here = elsa.current()
            seen((body, here.topic, here.partition, here.offset, here.generation, here.group, here.connection))

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()

    app.produce(name, [elsa.Record("message1", partition=0), elsa.Record("message2", partition=1)])
    with app:
        first, second = sorted(seen.wait(2))
        log.wait_committed(app.name, name, 1, 0)
        log.wait_committed(app.name, name, 1, 1)

    assert first[:4] == ("message1", name, 0, 0)
    assert second[:4] == ("message2", name, 1, 0)
    assert first[4] >= 1
    assert first[5:] == (app.name, app.name)
    assert len(seen) == 2


def test_a_class_keeps_its_own_state_per_partition(app: elsa.App, topic: Topics) -> None:
    name = topic(2)
    seen: Seen[tuple[int, int]] = Seen()

    @app.handler(name)
    class Count:
        def __init__(self) -> None:
            self.count = 0

        def handle(self, body: bytes, ctx: elsa.Context) -> None:
            self.count += 1
            seen((ctx.partition, self.count))

    app.produce(name, [elsa.Record(b"x", partition=p) for p in (0, 0, 0, 1, 1)])
    with app:
        items = seen.wait(5)

    assert sorted(items) == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]
