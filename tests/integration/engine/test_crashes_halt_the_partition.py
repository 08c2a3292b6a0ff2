"""SystemExit in a handler is no failure of its message: the worker starts anew, and the partition halts in the end.

The message is neither lost nor a dead letter, nor does it loop for ever; what was done before it does not run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.worker import revival

from .waiting import Log, Seen, stays, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_that_exits_halts_its_partition_alone(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log, monkeypatch: pytest.MonkeyPatch, *, is_async: bool
) -> None:
    monkeypatch.setattr(revival, "MOST_CRASHES", 2)
    app = make_app()
    name = topic(2)
    seen: Seen[str] = Seen()

    def work(body: str) -> None:
        seen(body)
        if body == "exit":
            raise SystemExit(1)

    if is_async:

        @app.handler(name)
        async def handle(body: str) -> None:
            work(body)
    else:
        app.handler(name)(work)

    app.produce(name, [elsa.Record(body, partition=0) for body in ("a", "b", "exit", "never")])
    with app:
        runtime = app._runtime
        until(lambda: {s.partition: s.paused for s in runtime.snapshots()}.get(0) == "halted", "it is halted")
        app.produce(name, elsa.Record("other", partition=1))
        log.wait_committed(app.name, name, 2, 0)
        log.wait_committed(app.name, name, 1, 1)
        stays(lambda: seen.items.count("exit") == 3 and not runtime.ended.is_set(), 0.5, "the halt")

    assert sorted(seen.items) == ["a", "b", "exit", "exit", "exit", "other"]
    assert log.committed(app.name, name, 0) == 2
    assert log.partitions(f"{name}.{app.name}.dlq") == 0

    # the next one begins with the message that nobody has finished
    successor = make_app()
    found: Seen[str] = Seen()

    @successor.handler(name, group=app.name, name="successor")
    def take(body: str) -> None:
        found(body)

    with successor:
        assert found.wait(2) == ["exit", "never"]
