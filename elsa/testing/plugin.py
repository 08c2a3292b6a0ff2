"""The pytest plugin of Elsa: fixtures for a real Kafka and for a mock cluster.

Loaded by pytest through its entry point.

It is loaded into every pytest run of whoever installed Elsa: everything but pytest is imported in the fixtures.

    def test_orders_are_billed(elsa_kafka):
        app = elsa.App("shop", brokers=elsa_kafka.bootstrap)
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.broker import EmbeddedKafka
    from elsa.kafka.mock import MockCluster
    from elsa.testing.kafka import KafkaService

_ENDING = pytest.StashKey[contextlib.ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the place where the session's broker waits for its end."""
    config.stash[_ENDING] = contextlib.ExitStack()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the session's broker: not in the fixture, because under xdist it waits for the other processes' tests."""
    config.stash[_ENDING].close()


@pytest.fixture(scope="session")
def elsa_kafka(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> KafkaService:
    """A real Apache Kafka for the whole session, thrown away at its end; `.bootstrap` is its address.

    One broker serves all processes of pytest-xdist. `ELSA_TEST_BROKERS` names a running cluster to use
    instead. Where no Java or no jars can be had the test is skipped; with `CI=true` it fails.
    """
    from elsa.testing.kafka import require_kafka, session_kafka  # noqa: PLC0415 - costs nothing where it is not used

    require_kafka()
    # told by the config: a pytest run that a test starts inherits the environment
    is_distributed = hasattr(pytestconfig, "workerinput")
    shared = tmp_path_factory.getbasetemp().parent / "elsa-kafka" if is_distributed else None
    return pytestconfig.stash[_ENDING].enter_context(session_kafka(shared))


@pytest.fixture(scope="session")
def elsa_secure_kafka(pytestconfig: pytest.Config) -> EmbeddedKafka:
    """A real Apache Kafka with TLS, SCRAM and ACLs for the session; `.bootstrap`, and `.client(user)` for `kafka=`.

    Its users are admin, worker, producer and monitor. Each process of pytest-xdist has one of its own. Skipped, or
    failed, as `elsa_kafka`.
    """
    from elsa.broker import EmbeddedKafka  # noqa: PLC0415 - costs nothing where it is not used
    from elsa.testing.kafka import require_embedded  # noqa: PLC0415 - see above

    require_embedded()
    return pytestconfig.stash[_ENDING].enter_context(EmbeddedKafka(ephemeral=True, secure=True))


@pytest.fixture
def elsa_mock_kafka() -> Iterator[MockCluster]:
    """librdkafka's mock cluster: needs no Java and starts at once; `.bootstrap` is its address.

    It produces, consumes, commits and balances groups, creates a topic with 4 partitions at its first use, and has
    no admin API: no creating, deleting or describing topics, no listing or resetting groups.
    """
    from elsa.kafka.mock import MockCluster  # noqa: PLC0415 - costs nothing where it is not used

    with MockCluster() as mock:
        yield mock
