"""The keeper with small processes instead of Java: everything it promises holds without Kafka too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from elsa.broker.processes import Keeper
from elsa.errors import BrokerStartError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SLEEPER = "import sys, time; print('up', flush=True); time.sleep(600)"
_PARENT = """
import os, sys, time, pathlib
from elsa.broker.processes import Keeper
keeper = Keeper(remove=pathlib.Path(sys.argv[1]) if sys.argv[1] else None)
child = keeper.spawn("child", [sys.executable, "-c", "import time; time.sleep(600)"], pathlib.Path(sys.argv[2]))
forked = os.fork() if sys.argv[3] == "fork" else None
if forked == 0:
    time.sleep(600)
print(child.pid, keeper.pid, forked or 0, flush=True)
time.sleep(600)
"""


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    keeper = Keeper()
    yield keeper
    keeper.close()


def _await_end(pid: int) -> None:
    """Wait, bounded, until a process that is not our child has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select

    try:
        assert select.select([descriptor], [], [], 20)[0], f"process {pid} still runs"
    finally:
        os.close(descriptor)


def test_exit_codes_come_back(keeper: Keeper, tmp_path: Path) -> None:
    child = keeper.spawn("quits", [sys.executable, "-c", "print('said'); raise SystemExit(7)"], tmp_path / "out")

    assert child.wait(20)
    assert child.returncode == 7
    assert not child.is_alive
    assert (tmp_path / "out").read_text() == "said\n"


def test_signals_arrive(keeper: Keeper, tmp_path: Path) -> None:
    child = keeper.spawn("sleeps", [sys.executable, "-c", _SLEEPER], tmp_path / "out")

    assert child.is_alive
    child.signal(signal.SIGKILL)

    assert child.wait(20)
    assert child.returncode == -signal.SIGKILL


def test_a_signal_to_one_that_has_ended_does_nothing(keeper: Keeper, tmp_path: Path) -> None:
    child = keeper.spawn("quits", [sys.executable, "-c", ""], tmp_path / "out")
    child.wait(20)

    child.signal(signal.SIGTERM)

    assert child.returncode == 0


def test_what_cannot_be_started_is_named(keeper: Keeper, tmp_path: Path) -> None:
    with pytest.raises(BrokerStartError, match=r"/no/such/java could not be started: .*No such file"):
        keeper.spawn("java", ["/no/such/java"], tmp_path / "out")


def test_closing_ends_every_process_and_removes_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "ephemeral"
    keeper = Keeper(remove=folder)
    folder.mkdir(exist_ok=True)
    child = keeper.spawn("sleeps", [sys.executable, "-c", _SLEEPER], folder / "out")

    keeper.close()
    keeper.close()

    assert not child.is_alive
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    )
    keeper = Keeper()
    child = keeper.spawn("stubborn", [sys.executable, "-c", stubborn], tmp_path / "out")

    keeper.close()

    assert not child.is_alive


@pytest.mark.parametrize("forks", ["", "fork"])
@pytest.mark.skipif(sys.platform != "linux", reason="waits on pidfds")
def test_kill_9_of_the_program_ends_everything(tmp_path: Path, forks: str) -> None:
    """A forked child of the program holds the pipe open: the keeper must see that its parent is gone all the same."""
    folder = tmp_path / "ephemeral"
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, folder, tmp_path / "out", forks], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child, keeper, forked = (int(pid) for pid in parent.stdout.readline().split())
        assert folder.exists()
        parent.kill()
        parent.wait()
        try:
            _await_end(child)
            _await_end(keeper)
        finally:
            if forked:
                os.kill(forked, signal.SIGKILL)

    assert not folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_kill_9_of_the_keeper_leaves_no_process(tmp_path: Path) -> None:
    keeper = Keeper()
    child = keeper.spawn("sleeps", [sys.executable, "-c", _SLEEPER], tmp_path / "out")

    os.kill(keeper.pid, signal.SIGKILL)

    assert child.wait(20)
    _await_end(child.pid)
    with pytest.raises(BrokerStartError, match="has ended"):
        keeper.spawn("late", [sys.executable, "-c", ""], tmp_path / "out")
    keeper.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_keeper_leaves_the_terminals_group(keeper: Keeper) -> None:
    """Ctrl-C must reach the program alone."""
    assert os.getpgid(keeper.pid) != os.getpgid(0)
