"""Runs `elsa worker` as a child that ends with this program, even after `kill -9`; used by `elsa.demo.run`."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from elsa.broker.processes import Keeper
from elsa.errors import WorkerError

if TYPE_CHECKING:
    from pathlib import Path

    from elsa.broker.processes import Child

#: how long handlers may go on after a stop; theirs take microseconds
DRAIN_SECONDS = 2
_STOP_SECONDS = 3.0
_SHOWN_LINES = 15


class WorkerCommand:
    """Starts, watches and stops `elsa worker`; one thread at a time may call it.

    It runs in a session of its own, so that ctrl-C in the terminal reaches it through `stop` only.
    """

    def __init__(self, app: str, *, processes: int, metrics_port: int, folder: Path) -> None:
        self._argv = [
            sys.executable,
            *("-m", "elsa", "worker", app),
            *("--processes", str(processes)),
            *("--metrics-port", str(metrics_port)),
            *("--drain-timeout", str(DRAIN_SECONDS)),
        ]
        self.log = folder / "worker.log"
        self._keeper: Keeper | None = None
        self._child: Child | None = None

    def start(self) -> None:
        """Start it; its output goes to `log`."""
        self._keeper = Keeper()
        self._child = self._keeper.spawn("worker", self._argv, self.log)

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._child is not None
        return self._child.pid

    def check(self) -> None:
        """Raise WorkerError with the last lines of its log when it has ended."""
        if self._child is not None and not self._child.is_alive:
            lines = self.log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
            raise WorkerError(
                f"the worker of the demo has ended with exit code {self._child.returncode}; the end of its log:\n"
                + "\n".join(f"  {line}" for line in lines)
            )

    def stop(self) -> None:
        """Stop it, by force when it takes longer than 3 s; idempotent, safe before start."""
        child, self._child = self._child, None
        if child is not None:
            child.signal(signal.SIGTERM)
            if not child.wait(_STOP_SECONDS):
                child.signal(signal.SIGKILL)
                child.wait(_STOP_SECONDS)
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
