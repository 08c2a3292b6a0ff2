"""Case 35: a topic grows from 1 to 3 partitions while group, standalone handler and producer run.

The new ones are served within the refresh interval and 5 s; the worker of partition 0 goes on untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import elsa

from .waiting import Log, Seen, add_partitions

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_new_partitions_are_served_and_the_old_one_goes_on(
    app: elsa.App, topic: Topics, log: Log, brokers: str
) -> None:
    name = topic()
    grouped: Seen[tuple[str, int]] = Seen()
    standalone: Seen[str] = Seen()

    @app.handler(name)
    class Grouped:
        def setup(self, ctx: elsa.Context) -> None:
            self.count = 0

        def handle(self, body: str) -> None:
            self.count += 1
            grouped((body, self.count))

    @app.handler(name, group=None, start="earliest", name="standalone")
    def alone(body: str) -> None:
        standalone(body)

    with app:
        app.produce(name, elsa.Record("first", partition=0))
        grouped.wait(1)
        standalone.wait(1)
        add_partitions(brokers, name, 3)
        app.producer.warm_up(name)
        app.produce(name, [elsa.Record(f"new {p}", partition=p) for p in range(3)])
        # refresh is 1 s in these tests
        grouped.wait(4, 6)
        standalone.wait(4, 6)
        for partition, offset in ((0, 2), (1, 1), (2, 1)):
            log.wait_committed(app.name, name, offset, partition)

    # the class of partition 0 has kept its state
    assert sorted(grouped.items) == [("first", 1), ("new 0", 2), ("new 1", 1), ("new 2", 1)]
    assert sorted(standalone.items) == ["first", "new 0", "new 1", "new 2"]
