"""`elsa worker` under systemd: what it says on a real notify socket from start to stop, and the unit that ships."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from elsa import exits

from .driver import PATIENCE
from .test_worker_health import HANGING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import SetStage

pytestmark = pytest.mark.broker


class Systemd:
    """The other end of NOTIFY_SOCKET: every message as a dict, in order."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def environment(self, watchdog_seconds: float) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(int(watchdog_seconds * 1_000_000))}

    def wait_for(self, is_it: Callable[[dict[str, str]], bool], since: int = 0) -> int:
        """The place of the first such message from a place on."""
        end = time.monotonic() + PATIENCE
        while True:
            for place in range(since, len(self.messages)):
                if is_it(self.messages[place]):
                    return place
            since = max(since, len(self.messages))
            try:
                self.receive(max(0.01, end - time.monotonic()))
            except TimeoutError:
                pytest.fail(f"no such message came: {self.messages[-20:]}")

    def receive(self, timeout: float) -> None:
        """Take the next message; raises TimeoutError when none comes."""
        self._socket.settimeout(timeout)
        text = self._socket.recv(65536).decode()
        self.messages.append(dict(line.split("=", 1) for line in text.split("\n")))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(f"@elsa-{tmp_path.name}-{time.monotonic_ns()}" if request.param == "abstract" else f"{tmp_path}/n")
    yield made
    made.close()


def test_it_tells_start_partitions_restarts_and_stop(set_stage: SetStage, systemd: Systemd) -> None:
    stage = set_stage()
    tree = stage.start("--processes", "2", env=systemd.environment(2))
    ready = systemd.wait_for(lambda m: m.get("READY") == "1")
    systemd.wait_for(lambda m: m.get("STATUS", "") == f"2 processes, 6 partitions, lag 0 ({stage.app} 0)")
    systemd.wait_for(lambda m: m.get("WATCHDOG") == "1", ready)

    tree.signal(signal.SIGHUP)
    reloading = systemd.wait_for(lambda m: m.get("RELOADING") == "1", ready)
    assert systemd.messages[reloading]["MONOTONIC_USEC"].isdecimal()
    again = systemd.wait_for(lambda m: m.get("READY") == "1", reloading)

    stage.produce(6, seconds=3)
    stage.wait_handled(0)
    tree.wait_ready(4)
    before = stage.records
    while stage.records == before:
        time.sleep(0.02)  # a file tells nobody that it grew
    tree.signal(signal.SIGTERM)
    stopping = systemd.wait_for(lambda m: m.get("STOPPING") == "1", again)
    systemd.wait_for(lambda m: int(m.get("EXTEND_TIMEOUT_USEC", "0")) > 0, stopping)
    assert tree.code() == exits.OK
    assert not any("READY" in message for message in systemd.messages[stopping:])


def test_the_watchdog_is_not_fed_while_the_poll_loop_hangs(set_stage: SetStage, systemd: Systemd) -> None:
    stage = set_stage(max_poll_interval=6, session_timeout=6)
    stage.source = HANGING
    hang = Path(f"{stage.journal_path}.hang")
    tree = stage.start(env=systemd.environment(2))
    ready = systemd.wait_for(lambda m: m.get("READY") == "1")
    systemd.wait_for(lambda m: m.get("WATCHDOG") == "1", ready)

    hang.touch()
    hanging = systemd.wait_for(lambda m: m.get("STATUS", "") == f"not live: poll {stage.app}", ready)
    with contextlib.suppress(TimeoutError):
        while True:
            systemd.receive(3.0)  # longer than the watchdog's two seconds
    assert not any("WATCHDOG" in message for message in systemd.messages[hanging:])
    hang.unlink()
    systemd.wait_for(lambda m: m.get("WATCHDOG") == "1", hanging)
    assert tree.stop() == exits.OK
