"""A worker process whose app hangs in its import has nothing to drain: TERM ends it, and so does its supervisor's end.

Before, both waited in the queue of a main thread that never came to look: ctrl-C took the whole `stop_timeout`, and a
supervisor that was killed left the process behind for ever.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from elsa.worker.control import FD_VARIABLE, ControlChannel
from elsa.worker.process import place_of
from elsa.worker.spec import WorkerSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HANGS = """
import threading
print("importing", flush=True)
threading.Event().wait()
"""
WRONG = """
import elsa
app = elsa.App("shop")
@app.handler("orders", orderin="key")
def bill(order: dict) -> None: ...
"""
PATIENCE = 60.0


class Process:
    """A real worker process and the supervisor's end of its channel."""

    def __init__(self, folder: Path, source: str) -> None:
        (folder / "shop.py").write_text(source)
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "elsa.worker.process"],
                cwd=folder,
                env={**os.environ, FD_VARIABLE: str(theirs.fileno())},
                pass_fds=[theirs.fileno()],
                stdout=subprocess.PIPE,
                text=True,
            )
        self.channel = ControlChannel(ours)
        self.channel.send(WorkerSpec(target="shop:app").message(index=0, processes=1, positions={}))

    def wait_importing(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "importing\n"

    def end(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    made: list[Process] = []

    def run(source: str) -> Process:
        made.append(Process(tmp_path, source))
        return made[-1]

    yield run
    for process in made:
        process.end()


def test_term_ends_it(start: Callable[[str], Process]) -> None:
    run = start(HANGS)
    run.wait_importing()
    run.process.terminate()

    assert run.process.wait(PATIENCE) == -signal.SIGTERM


def test_the_end_of_its_supervisor_ends_it(start: Callable[[str], Process]) -> None:
    run = start(HANGS)
    run.wait_importing()
    run.channel.close()

    assert run.process.wait(PATIENCE) == 0


def test_a_wrong_declaration_is_told_with_its_file_and_line(start: Callable[[str], Process], tmp_path: Path) -> None:
    run = start(WRONG)
    run.process.wait(PATIENCE)
    (told,) = run.channel.receive()

    assert told["error"] == (
        "handler shop.bill: unknown option 'orderin'\n  hint: did you mean 'ordering'?\n"
        f'  at {tmp_path / "shop.py"}, line 4: @app.handler("orders", orderin="key")'
    )


@pytest.mark.parametrize("error", [ValueError("theirs, and shown with its traceback"), OSError()])
def test_other_errors_have_no_place(error: Any) -> None:
    assert place_of(error) == ""
