from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from elsa.demo.workers import WorkerCommand
from elsa.errors import WorkerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENT = "import time\nprint('runs', flush=True)\ntime.sleep(600)"
STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('runs', flush=True)\ntime.sleep(600)"
)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerCommand]:
    worker = WorkerCommand("module:app", processes=2, metrics_port=8000, folder=tmp_path)
    yield worker
    worker.stop()


def run_instead(worker: WorkerCommand, code: str) -> None:
    worker._argv = [sys.executable, "-c", code]


def wait_for(worker: WorkerCommand, text: str) -> None:
    while not worker.log.exists() or text not in worker.log.read_text():
        worker.check()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_is_the_command_that_a_person_would_type(worker: WorkerCommand) -> None:
    assert [sys.executable, "-m", "elsa", "worker", "module:app"] == worker._argv[:5]
    assert worker._argv[5:] == ["--processes", "2", "--metrics-port", "8000", "--drain-timeout", "2"]


@pytest.mark.parametrize("code", [PATIENT, STUBBORN])
def test_it_is_gone_after_a_stop(worker: WorkerCommand, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elsa.demo.workers._STOP_SECONDS", 1.0)
    run_instead(worker, code)
    worker.start()
    wait_for(worker, "runs")
    pid = worker.pid
    worker.stop()

    assert not is_running(pid)


def test_stopping_is_idempotent_and_safe_before_the_start(worker: WorkerCommand) -> None:
    worker.stop()
    worker.stop()
    worker.check()


def test_an_end_nobody_asked_for_is_told_with_the_end_of_its_log(worker: WorkerCommand) -> None:
    run_instead(worker, "for i in range(100): print('line', i)\nraise SystemExit(7)")
    worker.start()
    assert worker._child is not None
    assert worker._child.wait(30)

    with pytest.raises(WorkerError, match="exit code 7; the end of its log") as caught:
        worker.check()

    assert "line 99" in str(caught.value)
    assert "line 50" not in str(caught.value)
