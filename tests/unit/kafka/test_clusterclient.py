"""A client that has lost a group's coordinator is made anew, once, and only where brokers answer otherwise."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import KafkaError as ClientError
from confluent_kafka import KafkaException

from elsa.config import Settings, load
from elsa.errors import BrokerUnavailable
from elsa.kafka.clusterclient import ClusterClient
from elsa.testing.clock import FakeClock

if TYPE_CHECKING:
    from pathlib import Path


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


@pytest.mark.parametrize("code", [ClientError._AUTHENTICATION, ClientError._ALL_BROKERS_DOWN])
def test_a_new_password_is_taken_by_a_new_client_once_connections_fail(tmp_path: Path, code: int) -> None:
    (tmp_path / "word").write_text("old")
    env = {"ELSA_KAFKA__SASL__USERNAME": "ann", "ELSA_KAFKA__SASL__PASSWORD_FILE": str(tmp_path / "word")}
    cluster = ClusterClient(load(env=env, cwd=tmp_path).settings)
    first = cluster._client()
    cluster._reported(ClientError(code))
    refused = cluster._client()  # the file has nothing new yet
    (tmp_path / "word").write_text("new")
    second = cluster._client()

    assert refused is first
    assert second is not first
    assert second.config["sasl.password"] == "new"  # type: ignore[attr-defined]
    (tmp_path / "word").write_text("newer")
    assert cluster._client() is second, "nobody has refused it"


class Refusing(Client):
    """A client that cannot reach a broker, or does."""

    reaches = False

    def list_topics(self, timeout: float) -> object:
        if not self.reaches:
            raise KafkaException(ClientError(ClientError._TRANSPORT, "gone"))
        return SimpleNamespace(cluster_id="one")


def test_one_that_goes_on_failing_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr("elsa.kafka.clusterclient.AdminClient", Refusing)
    monkeypatch.setattr("elsa.kafka.clusterclient.SYSTEM", clock)
    cluster = ClusterClient(Settings(brokers="127.0.0.1:1"))

    def ask_after(seconds: float) -> object:
        clock.advance(seconds)
        with contextlib.suppress(BrokerUnavailable):
            cluster._metadata(1.0)
        return cluster._raw

    first = ask_after(0)
    assert ask_after(9) is first
    second = ask_after(1)
    assert second is not first
    monkeypatch.setattr(Refusing, "reaches", True)
    assert ask_after(5) is second
    assert ask_after(60) is second


def test_a_client_lives_while_another_thread_waits_for_its_answer() -> None:
    cluster = ClusterClient(Settings(brokers="127.0.0.1:1"))
    asked, answered = threading.Event(), threading.Event()
    kept: list[weakref.ref[object]] = []

    def ask() -> None:
        kept.append(weakref.ref(cluster._client()))
        asked.set()
        answered.wait(10)

    other = threading.Thread(target=ask)
    other.start()
    assert asked.wait(10)
    cluster._drop(cluster._client())
    cluster._client()
    gc.collect()

    assert kept[0]() is not None
    answered.set()
    other.join(10)
    gc.collect()
    assert kept[0]() is None
