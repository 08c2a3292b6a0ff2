"""A delayed message for a topic that may not be written becomes a dead letter, and does not hold the others up.

The broker refuses the whole transaction that moves what is due, and does not say for which of its topics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from elsa.delays.topics import undeliverable_topic
from elsa.fetcher import Fetcher

from .conftest import USER

if TYPE_CHECKING:
    from collections.abc import Callable

    import elsa

    from .conftest import Guarded

pytestmark = pytest.mark.broker


def test_a_forbidden_target_is_told_from_the_others(
    guarded_kafka: Guarded, user_app: Callable[..., elsa.App], caplog: pytest.LogCaptureFixture
) -> None:
    app = user_app(static_membership=False, create_topics=True)
    closed, reached = guarded_kafka.topic(), guarded_kafka.topic()
    for resource in ("TOPIC", "GROUP", "TRANSACTIONAL_ID"):
        guarded_kafka.grant(resource, app.name, "ALL", is_prefix=True)
    guarded_kafka.grant("TOPIC", closed, "DESCRIBE")
    guarded_kafka.grant("TOPIC", reached, "WRITE")
    guarded_kafka.grant("TOPIC", reached, "READ")

    @app.handler(reached)
    def handle(body: bytes) -> None: ...

    app.start()
    app.send(closed, b"closed", delay=1)
    app.send(reached, b"open", delay=1)
    fetcher = Fetcher(app.settings)
    buried = next(fetcher.follow(undeliverable_topic(app.name), start="earliest"))
    moved = next(fetcher.follow(reached, start="earliest"))

    assert (moved.value, buried.value) == (b"open", b"closed")
    why = dict(buried.headers)["elsa-error-message"]
    assert why is not None
    assert f"needs Write on topic '{closed}'" in why.decode()
    (said,) = [text for text in caplog.messages if "cannot be delivered" in text]
    assert said.endswith(f"--add --allow-principal User:{USER} --operation Write --topic {closed}")
