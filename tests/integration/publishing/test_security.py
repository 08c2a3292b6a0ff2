"""One `kafka` mapping reaches every client: SASL asked of a broker that has none is refused to each, and said."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from elsa.errors import AuthenticationFailed
from elsa.groups import Groups
from elsa.kafka.config import validate_kafka
from elsa.kafka.reader import Reader
from elsa.producer import Producer
from elsa.topics import Topics

if TYPE_CHECKING:
    from elsa.config import Settings

pytestmark = pytest.mark.broker


@pytest.fixture
def with_sasl(settings: Settings) -> Settings:
    secured = replace(
        settings,
        kafka={
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "ann",
            "sasl.password": "tiger",
        },
    )
    validate_kafka(secured)
    return secured


def test_every_client_says_that_it_was_refused(
    with_sasl: Settings, data_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elsa.partitions.METADATA_SECONDS", 1.0)
    producer = Producer(with_sasl)
    with Reader(with_sasl) as reader:
        reader.assign(data_set, {0: 0})

        def read() -> Any:
            while True:
                reader.read(1.0)

        for call in (
            lambda: Topics(with_sasl).list(),
            lambda: Groups(with_sasl).list(),
            lambda: producer.wait_ready(1.0),
            lambda: producer.produce(data_set, b"v"),
            read,
        ):
            with pytest.raises(AuthenticationFailed, match="the broker refused the credentials"):
                call()
    producer.close()
