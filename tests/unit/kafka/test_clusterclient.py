"""A client that has lost a group's coordinator is made anew, once, and only where brokers answer otherwise."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError as ClientError

from elsa.config import Settings
from elsa.errors import BrokerUnavailable
from elsa.kafka.clusterclient import ClusterClient


class Client:
    """An AdminClient that has nothing to say."""

    def __init__(self, config: dict[str, object]) -> None:
        self.config = config

    def poll(self, timeout: float) -> int:
        assert timeout == 0
        return 0


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elsa.kafka.clusterclient.AdminClient", Client)


class Cluster(ClusterClient):
    """Its coordinator never answers the clients in `stuck`; brokers answer otherwise, unless it is `away`."""

    def __init__(self, *, away: bool = False) -> None:
        super().__init__(Settings(brokers="127.0.0.1:1"))
        self.stuck = [self._client()]
        self.away = away
        self.asked: list[float] = []

    def _metadata(self, timeout: float) -> object:
        if self.away:
            raise BrokerUnavailable("nobody answers", code="_TRANSPORT")
        return timeout

    def state(self) -> str:
        return self._of_coordinator(self._ask, 4.0)

    def _ask(self, timeout: float) -> str:
        self.asked.append(timeout)
        if self._client() in self.stuck:
            raise BrokerUnavailable("timed out", code="_TIMED_OUT")
        return "stable"


def test_a_call_that_times_out_is_made_again_by_another_client() -> None:
    cluster = Cluster()

    assert cluster.state() == "stable"
    assert cluster.state() == "stable"
    assert cluster.asked == [2.0, 4.0, 2.0]


def test_it_is_made_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    monkeypatch.setattr(cluster, "_drop", lambda _: None)  # what is made anew does not find it either

    with pytest.raises(BrokerUnavailable, match="timed out"):
        cluster.state()
    assert cluster.asked == [2.0, 4.0]


def test_while_no_broker_answers_the_client_is_kept() -> None:
    cluster = Cluster(away=True)

    with pytest.raises(BrokerUnavailable, match="timed out"):
        cluster.state()
    assert cluster.asked == [2.0]
    assert cluster._client() in cluster.stuck


@pytest.mark.parametrize("code", [ClientError._TRANSPORT, ClientError._ALL_BROKERS_DOWN])
def test_one_that_has_lost_a_broker_is_not_asked_at_all(code: int) -> None:
    cluster = Cluster()
    cluster._reported(ClientError(code))

    assert cluster.state() == "stable"
    assert cluster.asked == [2.0]
    kept = cluster._client()
    assert cluster.state() == "stable"
    assert cluster._client() is kept
