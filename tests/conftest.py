"""Fixtures of Elsa's own tests: short names for the plugin's, topics and groups that clean up after themselves."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import hypothesis
import pytest

from elsa.broker import EmbeddedKafka
from elsa.testing.kafka import Groups, KafkaService, Topics, require_embedded, require_kafka

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.kafka.mock import MockCluster

# how long an example takes, or to make it, hangs on what else the machine does
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `broker` are skipped where no Kafka can be had, and fail with CI=true."""
    if item.get_closest_marker("broker") is not None:
        require_kafka()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the suite (xdist), begin with the files that take long: none may be left for the end."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
        # stable: the random order of files and of their tests stays within each of the three parts
        items.sort(key=lambda item: (item.path not in slow, item.nodeid.startswith("tests/unit/")))


@pytest.fixture(scope="session", autouse=True)
def _own_runtime_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the slots of tests' workers out of the user's folder; a default, so that no test sees a setting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.fixture(scope="session")
def kafka(elsa_kafka: KafkaService) -> KafkaService:
    """The session's real Kafka; never stop it, other tests use it (`kafka_cluster` is for that)."""
    return elsa_kafka


@pytest.fixture(scope="session")
def brokers(kafka: KafkaService) -> str:
    """Its addresses."""
    return kafka.bootstrap


@pytest.fixture
def topic(brokers: str, request: pytest.FixtureRequest) -> Iterator[Topics]:
    """`topic(partitions=1, config=None)` creates a topic and returns its unique name."""
    topics = Topics(brokers, request.node.name)
    yield topics
    topics.clean_up()


@pytest.fixture
def group(brokers: str, request: pytest.FixtureRequest) -> Iterator[Groups]:
    """`group()` returns a unique group name."""
    groups = Groups(brokers, request.node.name)
    yield groups
    groups.clean_up()


@pytest.fixture
def mock_kafka(elsa_mock_kafka: MockCluster) -> MockCluster:
    """librdkafka's mock cluster (no admin API)."""
    return elsa_mock_kafka


@pytest.fixture
def root_logger_restored() -> Iterator[None]:
    """Puts back what a command has set up for the logs of its process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="module")
def kafka_cluster() -> Iterator[EmbeddedKafka]:
    """A real Kafka of 3 nodes for one module, whose nodes may be stopped, killed and started; heal it afterwards."""
    require_embedded()
    with EmbeddedKafka(nodes=3, ephemeral=True) as cluster:
        yield cluster
