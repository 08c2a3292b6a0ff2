"""What systemd is told of a supervisor, over real datagram sockets."""

from __future__ import annotations

import os
import socket
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from elsa.observe.verdicts import Verdict
from elsa.worker import notify
from elsa.worker.notify import Announcer, Notifier, describe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Listening:
    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def take(self) -> list[str]:
        """The fields of all messages that have come."""
        found = []
        while True:
            try:
                found += self._socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listening]:
    address = f"@elsa-unit-{time.monotonic_ns()}" if request.param == "abstract" else str(tmp_path / "notify")
    made = Listening(address)
    yield made
    made.close()


class Supervisor:
    """Stands for a supervisor and its probes."""

    def __init__(self) -> None:
        self.is_stopping = self.is_ready = self.is_rolling = False
        self.is_live, self.has_started = True, False
        self.questions = self
        self.lag = 3
        self.silent = 0
        child = SimpleNamespace(has_greeted=True)
        self.places = [SimpleNamespace(index=0, child=child), SimpleNamespace(index=1, child=None)]

    def ask(self, _kind: str, _timeout: float) -> dict[int, Any]:
        if self.silent:
            return {}
        return {0: {"groups": ["billing"], "partitions": [{"group": "billing", "lag": self.lag}]}}

    def live(self) -> Verdict:
        return Verdict("live", [{"name": "poll", "about": "billing", "ok": self.is_live}])

    def ready(self) -> Verdict:
        return Verdict("ready", [{"name": "brokers", "ok": self.is_ready}])

    def started(self) -> Verdict:
        return Verdict("started", [{"name": "app", "ok": self.has_started}])


def announcer(systemd: Listening, supervisor: Supervisor, watchdog: float | None = None) -> Announcer:
    made = Announcer(supervisor, Notifier(systemd.address, watchdog))  # type: ignore[arg-type]  # stands for one
    made._probes = supervisor  # type: ignore[assignment]  # it stands for them, too
    return made


def test_it_is_ready_with_the_first_assignment_and_says_what_it_has(systemd: Listening) -> None:
    supervisor = Supervisor()
    one = announcer(systemd, supervisor)
    one._look(0.0)
    assert systemd.take() == ["STATUS=not ready: brokers"]
    supervisor.is_ready = True
    one._look(1.0)
    assert systemd.take() == ["READY=1", "STATUS=1 process, 1 partition, lag 3 (billing 3)"]
    one._look(2.0)
    assert systemd.take() == []
    supervisor.lag = 0
    one._look(2.0 + notify.STATUS_SECONDS)
    assert systemd.take() == ["STATUS=1 process, 1 partition, lag 0 (billing 0)"]
    one._notifier.close()


def test_a_process_that_does_not_answer_is_no_process_without_lag(systemd: Listening) -> None:
    supervisor = Supervisor()
    supervisor.is_ready = True
    supervisor.silent = 1
    one = announcer(systemd, supervisor)
    one._look(0.0)
    assert systemd.take() == ["READY=1", "STATUS=1 process does not answer"]
    supervisor.places.append(SimpleNamespace(index=2, child=SimpleNamespace(has_greeted=True)))
    one._look(notify.STATUS_SECONDS)
    assert systemd.take() == ["STATUS=2 processes do not answer"]
    supervisor.silent = 0
    one._look(2 * notify.STATUS_SECONDS)
    assert systemd.take() == ["STATUS=1 process, 1 partition, lag 3 (billing 3); 1 process does not answer"]
    one._notifier.close()


def test_a_worker_that_waits_for_kafka_counts_as_started_after_a_while(systemd: Listening) -> None:
    supervisor = Supervisor()
    one = announcer(systemd, supervisor)
    one._look(1_000.0)
    supervisor.has_started = True
    one._look(2_000.0)
    one._look(2_000.0 + notify.WAITING_SECONDS - 1)
    assert "READY=1" not in systemd.take()
    one._look(2_000.0 + notify.WAITING_SECONDS)
    assert systemd.take() == ["READY=1"]
    one._notifier.close()


def test_the_watchdog_is_fed_at_half_of_its_time_and_only_while_it_is_live(systemd: Listening) -> None:
    supervisor = Supervisor()
    supervisor.is_ready = True
    one = announcer(systemd, supervisor, watchdog=20.0)
    fed = []
    for second in range(31):
        one._look(float(second))
        fed += [second] * ("WATCHDOG=1" in systemd.take())
    assert fed == [0, 10, 20, 30]

    supervisor.is_live = False
    one._look(40.0)
    assert systemd.take() == ["STATUS=not live: poll billing"]
    supervisor.is_live = True
    one._look(41.0)
    assert systemd.take()[0] == "WATCHDOG=1"
    one._notifier.close()


def test_a_rolling_restart_is_a_reload_and_a_stop_asks_for_time(systemd: Listening) -> None:
    supervisor = Supervisor()
    supervisor.is_ready = True
    one = announcer(systemd, supervisor)
    one._look(0.0)
    systemd.take()
    supervisor.is_rolling = True
    one._look(1.0)
    reloading, moment = systemd.take()
    assert (reloading, moment.partition("=")[0]) == ("RELOADING=1", "MONOTONIC_USEC")
    supervisor.is_rolling = False
    one._look(2.0)
    assert systemd.take() == ["READY=1"]

    supervisor.is_stopping = True
    for second in (3.0, 4.0):
        one._look(second)
    stopping = ["STOPPING=1", "STATUS=stopping: running handlers finish"]
    assert systemd.take() == [*stopping, "EXTEND_TIMEOUT_USEC=10000000", "EXTEND_TIMEOUT_USEC=10000000"]
    one._notifier.close()


def test_an_end_without_a_stop_is_told_as_well(systemd: Listening) -> None:
    with announcer(systemd, Supervisor()) as one:
        one.poke()

    assert systemd.take()[-2:] == ["STOPPING=1", "STATUS=ended"]
    assert not one._thread.is_alive()


def test_what_systemd_asks_for_is_taken_out_of_the_environment() -> None:
    environ = {"NOTIFY_SOCKET": "@one", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid()), "PATH": "/bin"}
    notifier = Notifier.from_environment(environ)

    assert notifier is not None
    assert notifier.watchdog_seconds == 2.0
    assert environ == {"PATH": "/bin"}
    notifier.close()


@pytest.mark.parametrize(
    "environ", [{"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {}]
)
def test_a_watchdog_that_is_not_meant_is_none(environ: dict[str, str]) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "/run/n", **environ})

    assert notifier is not None
    assert notifier.watchdog_seconds is None
    notifier.close()


def test_an_address_of_another_kind_is_nobody() -> None:
    assert Notifier.from_environment({"NOTIFY_SOCKET": "vsock:2:1234"}) is None


def test_a_socket_that_nobody_reads_costs_nothing(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "nobody"))
    notifier.send(READY=1)
    notifier.close()


def test_the_status_line_counts_processes_and_partitions() -> None:
    standalone = {"groups": [], "partitions": [{"group": None, "lag": 1}, {"group": None, "lag": None}]}

    assert describe([], silent=1) == "1 process does not answer"
    assert describe([standalone]) == "1 process, 2 partitions, lag 1"
