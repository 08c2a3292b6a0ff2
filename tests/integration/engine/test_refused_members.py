"""A member that its group refuses for good ends the worker instead of asking again for ever.

A session timeout outside the broker's limits is such a thing: no waiting mends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa import exits

if TYPE_CHECKING:
    from collections.abc import Callable

    import elsa
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_a_session_that_the_broker_does_not_allow_ends_the_worker(
    make_app: Callable[..., elsa.App], topic: Topics
) -> None:
    app = make_app(session_timeout=2.0)

    @app.handler(topic(1))
    def handle(body: bytes) -> None: ...

    app.start()
    runtime: Any = app._runtime

    assert runtime.ended.wait(60)
    assert runtime.failure.startswith(f"group {app.name} cannot be joined: the group refused this member")
    assert "INVALID_SESSION_TIMEOUT" in runtime.failure
    assert runtime.failure_code == exits.FAILED
