"""A standalone handler whose partition worker or client dies goes on at its position in memory.

It has no committed offset: starting at "latest" again would lose what came between (the predecessor's issue 104:
an ungrouped worker died for good).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .waiting import Seen, until

if TYPE_CHECKING:
    import elsa
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_after_a_crash_of_the_partition_worker(app: elsa.App, topic: Topics) -> None:
    name = topic()
    seen: Seen[str] = Seen()

    @app.handler(name, group=None)
    def handle(body: str) -> None:
        seen(body)
        if body == "bad" and seen.items.count("bad") == 1:
            raise SystemExit

    with app:
        assert app.wait_ready()
        app.produce(name, ["one", "bad", "two"])
        items = seen.wait_for(lambda items: "two" in items, "the message behind the crash")

    assert items == ["one", "bad", "bad", "two"]


def test_after_the_client_was_rebuilt(app: elsa.App, topic: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    name = topic()
    seen: Seen[str] = Seen()

    @app.handler(name, group=None)
    def handle(body: str) -> None:
        seen(body)

    with app:
        assert app.wait_ready()
        app.produce(name, "one")
        seen.wait(1)
        manager = app._runtime.managers[0]
        until(lambda: manager.positions == {f"{name}[0]": 1}, "the position is known")
        polls = manager.consumer.poll

        def broken(*_: object) -> list[object]:
            app.produce(name, "two")
            monkeypatch.setattr(manager.consumer, "poll", polls)
            raise RuntimeError("the client is broken")

        monkeypatch.setattr(manager.consumer, "poll", broken)
        items = seen.wait_for(lambda items: "two" in items, "what came while there was no client")

    assert items == ["one", "two"]
