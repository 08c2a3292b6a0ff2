"""Apps whose spans are kept in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.engine.conftest import app, jobs, log, make_app  # noqa: F401 - fixtures

from .trees import Recorded

if TYPE_CHECKING:
    from collections.abc import Iterator


#: what other instrumentations still say, and the conventions do not any more
OLD = {
    "messaging.destination",
    "messaging.destination_kind",
    "messaging.operation",
    "messaging.message_id",
    "messaging.kafka.partition",
    "messaging.kafka.message_key",
    "messaging.kafka.consumer.group",
    "messaging.kafka.consumer_group",
    "messaging.kafka.client_id",
    "messaging.kafka.destination.partition",
    "messaging.kafka.message.offset",
    "messaging.client_id",
    "net.peer.name",
    "net.peer.port",
}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """A tracer provider; ask for it before an App is used."""
    recorded = Recorded(monkeypatch)
    yield recorded
    for span in recorded.spans:
        assert not OLD & span.attributes.keys(), span.name
        assert span.instrumentation_scope.schema_url in ("https://opentelemetry.io/schemas/1.44.0", "", None)
    recorded.provider.shutdown()
