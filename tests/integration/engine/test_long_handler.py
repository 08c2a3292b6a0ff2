"""A handler may take any length of time: twice `max_poll_interval` costs neither membership nor a second execution."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from elsa.message import Record

from .waiting import Log, Seen

if TYPE_CHECKING:
    from collections.abc import Callable

    import elsa
    from elsa.testing.kafka import Topics

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def test_six_messages_of_20_seconds_are_six_executions(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log
) -> None:
    app = make_app(max_poll_interval=10.0, session_timeout=6.0)
    name = topic(6)
    begun: Seen[str] = Seen()
    ended: Seen[str] = Seen()
    gone: Seen[Any] = Seen()
    app.on_revoked(gone)
    app.on_lost(gone)

    @app.handler(name, concurrency=6)
    def handle(body: str) -> None:
        begun(body)
        # nothing that could wake up early
        end = time.monotonic() + 20
        while time.monotonic() < end:
            threading.Event().wait(end - time.monotonic())
        ended(body)

    app.produce(name, [Record(str(p), partition=p) for p in range(6)])
    with app:
        assert sorted(ended.wait(6, 60)) == [str(p) for p in range(6)]
        for partition in range(6):
            log.wait_committed(app.name, name, 1, partition)
        assert gone.items == []

    assert len(begun) == 6
