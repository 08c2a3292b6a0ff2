"""Runs the Java processes of one embedded cluster and ends them with the program that wanted them.

Started by `elsa.broker.processes` as a script.

It is a process of its own because nothing inside the program survives its `kill -9`. It holds a pipe
from the program: when that closes, or the program is no longer its parent (a forked child may hold
the pipe open), it ends every process, removes the folder it was told to remove, and exits. It imports
the standard library alone, so that it starts fast.

Commands, one JSON object a line on stdin: `{"op": "spawn", "name", "argv", "output"}` and
`{"op": "signal", "name", "signal"}`. Answers on stdout: `spawned` (pid), `failed` (error), `exited` (code).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from typing import Any

GRACE_SECONDS = 4
_PR_SET_PDEATHSIG = 1


class Keeper:
    """Owns the processes; single-threaded, woken by its stdin and by SIGCHLD."""

    def __init__(self, parent: int, remove: str) -> None:
        self._parent = parent
        self._remove = remove
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._input = b""
        self._stopping = False
        self._wake_reader, wake_writer = os.pipe()
        for end in (self._wake_reader, wake_writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        self._pdeathsig = _parent_death_signal() if sys.platform == "linux" else None

    def run(self) -> None:
        """Serve commands until the program is gone."""
        if self._remove:
            os.makedirs(self._remove, mode=0o700, exist_ok=True)  # noqa: PTH103 - pathlib doubles the start time
        try:
            while not self._stopping and os.getppid() == self._parent:
                self._turn(0.5)
        finally:
            self._end_all()
            if self._remove:
                shutil.rmtree(self._remove, ignore_errors=True)

    def _on_term(self, *_: object) -> None:
        self._stopping = True

    def _turn(self, timeout: float) -> None:
        readable, _, _ = select.select([0, self._wake_reader], [], [], timeout)
        if self._wake_reader in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_reader, 4096)
        if 0 in readable:
            data = os.read(0, 65536)
            if not data:
                self._stopping = True
            *lines, self._input = (self._input + data).split(b"\n")
            for line in lines:
                self._obey(json.loads(line))
        self._reap()

    def _obey(self, command: dict[str, Any]) -> None:
        name = command["name"]
        if command["op"] == "signal":
            process = self._processes.get(name)
            if process is not None:
                process.send_signal(command["signal"])
            return
        try:
            with open(command["output"], "ab") as output:  # noqa: PTH123 - pathlib doubles the start time
                self._processes[name] = subprocess.Popen(  # noqa: S603 - the program's own java
                    command["argv"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    preexec_fn=self._pdeathsig,  # noqa: PLW1509 - this process has one thread
                )
        except OSError as error:
            self._tell(event="failed", name=name, error=str(error))
        else:
            self._tell(event="spawned", name=name, pid=self._processes[name].pid)

    def _reap(self) -> None:
        for name, process in list(self._processes.items()):
            code = process.poll()
            if code is not None:
                del self._processes[name]
                self._tell(event="exited", name=name, code=code)

    def _tell(self, **event: object) -> None:
        # Nobody reads any more once the program is gone.
        with contextlib.suppress(OSError):
            os.write(1, json.dumps(event).encode() + b"\n")

    def _end_all(self) -> None:
        # Data that is thrown away needs no orderly end.
        if not self._remove:
            for process in self._processes.values():
                process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                for process in self._processes.values():
                    process.wait(GRACE_SECONDS)
        for process in self._processes.values():
            process.kill()
            process.wait()


def _parent_death_signal() -> Any:
    """What a child runs before its exec, so that not even `kill -9` of the keeper leaves it behind (Linux only)."""
    prctl = ctypes.CDLL(None).prctl
    keeper = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)

    return ask


if __name__ == "__main__":
    Keeper(int(sys.argv[1]), sys.argv[2]).run()
