from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from elsa.broker import local
from elsa.broker.local import BrokerWatch, LocalKafka, find_or_start
from elsa.broker.ports import free_ports
from elsa.config import Loaded, load
from elsa.errors import AuthorizationFailed, BrokerStartError, BrokerUnavailable, ConfigError, PortInUse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.kafka.mock import MockCluster

PATIENCE = 30.0


class Embedded:
    """Stands for a broker: what it was made with, and whether it was started."""

    made: ClassVar[list[Embedded]] = []

    def __init__(self, nodes: int, port: int, data_dir: Path | None, **options: Any) -> None:
        self.arguments = (nodes, port, data_dir, options["ephemeral"])
        self.bootstrap = ""
        type(self).made.append(self)

    def start(self) -> None:
        self.bootstrap = "127.0.0.1:1234"


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Embedded]]:
    monkeypatch.setattr(local, "EmbeddedKafka", Embedded)
    monkeypatch.setattr(local, "_ANSWER_SECONDS", 0.3)
    yield Embedded.made
    Embedded.made.clear()


def settings(brokers: str = "localhost:9092", **more: Any) -> Loaded:
    return load({"brokers": brokers, **more}, env={}, cwd=Path("/"))


def test_where_nothing_listens_a_broker_is_started_at_that_very_port(made: list[Embedded]) -> None:
    (port,) = free_ports(1)
    found = find_or_start(settings(f"localhost:{port}"), ephemeral=True)

    assert found.bootstrap == "127.0.0.1:1234"
    assert found.broker is made[0]  # type: ignore[comparison-overlap]  # a stand-in
    assert made[0].arguments == (1, port, None, True)


def test_without_a_port_it_is_kafkas_own(made: list[Embedded], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_listens", lambda *_: False)
    find_or_start(settings("localhost"), data_dir=Path("there"))

    assert made[0].arguments == (1, 9092, Path("there"), False)


def test_a_kafka_that_answers_is_used(mock_kafka: MockCluster, made: list[Embedded]) -> None:
    assert find_or_start(settings(mock_kafka.bootstrap)) == LocalKafka(mock_kafka.bootstrap)
    assert made == []


def test_a_port_that_is_given_wins_over_the_settings(mock_kafka: MockCluster, made: list[Embedded]) -> None:
    port = int(mock_kafka.bootstrap.rpartition(":")[2])
    assert find_or_start(settings("kafka.example:9092"), port=port) == LocalKafka(f"127.0.0.1:{port}")

    (other,) = free_ports(1)
    find_or_start(settings(mock_kafka.bootstrap), port=other)
    assert made[0].arguments == (1, other, None, False)


def test_any_port_means_a_broker_of_its_own(mock_kafka: MockCluster, made: list[Embedded]) -> None:
    find_or_start(settings(mock_kafka.bootstrap), port=0, ephemeral=True)

    assert made[0].arguments == (1, 0, None, True)


def test_who_may_not_list_topics_has_found_a_kafka(mock_kafka: MockCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AuthorizationFailed

    monkeypatch.setattr("elsa.kafka.admin.Admin.partition_counts", refuse)

    assert find_or_start(settings(mock_kafka.bootstrap)).broker is None


@pytest.mark.parametrize("wish", [{"ephemeral": True}, {"data_dir": Path("there")}])
def test_wishes_that_a_running_kafka_can_not_meet_are_refused(mock_kafka: MockCluster, wish: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"answers at .* already.*\n  hint: leave --ephemeral and --data-dir out"):
        find_or_start(settings(mock_kafka.bootstrap), **wish)


def test_something_else_at_the_port_is_named(made: list[Embedded]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"port {port} .* does not answer as Kafka\n  hint: .*--port 0"):
            find_or_start(settings(f"127.0.0.1:{port}"))
    assert made == []


def test_a_kafka_elsewhere_that_does_not_answer_is_not_replaced(made: list[Embedded]) -> None:
    with pytest.raises(BrokerUnavailable, match=r"192\.0\.2\.1:9092, and it is no address of this machine"):
        find_or_start(settings("127.0.0.1:1,192.0.2.1:9092"))
    assert made == []


def test_settings_that_no_embedded_broker_understands_are_named(made: list[Embedded]) -> None:
    (port,) = free_ports(1)
    with pytest.raises(ConfigError, match="speaks no SASL_SSL"):
        find_or_start(settings(f"localhost:{port}", kafka={"security.protocol": "SASL_SSL"}))
    assert made == []


@pytest.mark.parametrize(
    ("brokers", "addresses"),
    [
        ("localhost:9092", [("localhost", 9092)]),
        ("one, two:9093", [("one", 9092), ("two", 9093)]),
        ("PLAINTEXT://[::1]:9094", [("::1", 9094)]),
        ("[::1]", [("::1", 9092)]),
    ],
)
def test_addresses_are_read_from_the_setting(brokers: str, addresses: list[tuple[str, int]]) -> None:
    assert local._addresses(settings(brokers).settings.brokers) == addresses


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("localhost", True), ("127.0.0.2", True), ("::1", True), ("kafka", False), ("8.8.8.8", False)],
)
def test_this_machine_is_told_from_others(host: str, *, is_loopback: bool) -> None:
    assert local._is_loopback(host) is is_loopback


class Broker:
    """A broker that ends by itself when `dies` is set."""

    def __init__(self) -> None:
        self.is_looked_at = threading.Event()
        self.dies = threading.Event()

    def wait(self, timeout: float) -> None:
        self.is_looked_at.set()
        if self.dies.wait(min(timeout, 0.01)):
            raise BrokerStartError("the disk is full")


def test_the_end_of_a_broker_is_told_with_its_reason() -> None:
    broker: Any = Broker()
    is_told = threading.Event()
    watch = BrokerWatch(broker, is_told.set).start()
    broker.dies.set()

    assert is_told.wait(PATIENCE)
    watch.stop()
    assert str(watch.error) == "the disk is full"


def test_a_watch_that_is_ended_tells_nothing_and_leaves_no_thread() -> None:
    broker: Any = Broker()
    is_told = threading.Event()
    BrokerWatch(broker, is_told.set).stop()
    watch = BrokerWatch(broker, is_told.set).start()
    assert broker.is_looked_at.wait(PATIENCE)
    watch.stop()
    watch.stop()

    assert (watch.error, is_told.is_set()) == (None, False)
    assert not [thread for thread in threading.enumerate() if thread.name == "elsa-broker-watch"]
