"""Two embedded brokers on one machine don't collide, and a port that is taken is named before anything starts."""

from __future__ import annotations

import socket

import pytest

from elsa.broker import EmbeddedKafka, cluster, ports
from elsa.errors import PortInUse
from elsa.kafka import probe

pytestmark = pytest.mark.broker


def test_two_brokers_run_side_by_side() -> None:
    with EmbeddedKafka(ephemeral=True) as one, EmbeddedKafka(ephemeral=True) as other:
        probe.create_topic(one.bootstrap, "mine", 1)

        assert one.root != other.root
        assert [probe.list_topics(kafka.bootstrap) for kafka in (one, other)] == [["mine"], []]


def test_a_free_port_that_is_taken_before_kafka_listens_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        answers = [[taken]]

        def free_ports(count: int, *, taken: frozenset[int] = frozenset()) -> list[int]:
            return answers.pop() if answers else ports.free_ports(count, taken=taken)

        monkeypatch.setattr(cluster, "free_ports", free_ports)

        with EmbeddedKafka(ephemeral=True) as kafka:
            assert kafka.bootstrap != f"127.0.0.1:{taken}"
            assert probe.list_topics(kafka.bootstrap) == []


def test_a_given_port_is_used_and_cannot_be_had_twice() -> None:
    (port,) = ports.free_ports(1)
    with EmbeddedKafka(port=port, ephemeral=True) as kafka:
        assert f"127.0.0.1:{port}" == kafka.bootstrap

        with pytest.raises(PortInUse, match=f"port {port} of 127.0.0.1 is taken"):
            EmbeddedKafka(port=port, ephemeral=True).start()


def test_a_stopped_broker_leaves_nothing_and_starts_afresh() -> None:
    broker = EmbeddedKafka(ephemeral=True)
    with broker:
        probe.create_topic(broker.bootstrap, "gone", 1)
        first = broker.root
    assert not first.exists()

    with broker:
        assert probe.list_topics(broker.bootstrap) == []


def test_groups_can_be_deleted_as_soon_as_a_broker_answers() -> None:
    with EmbeddedKafka(ephemeral=True) as kafka:
        probe.delete_groups(kafka.bootstrap, ["never-was"])

        assert probe.list_topics(kafka.bootstrap) == []
