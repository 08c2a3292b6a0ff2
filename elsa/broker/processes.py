"""The program's side of the keeper: starts it, and starts, signals and watches Java processes through it.

Called by the cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from elsa.errors import BrokerStartError

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence

_SCRIPT = Path(__file__).with_name("keeper.py")
_ANSWER_SECONDS = 30.0


class Child:
    """One process that the keeper runs; the keeper's reader thread writes it, any thread reads it."""

    def __init__(self, name: str, keeper: Keeper) -> None:
        self.name = name
        self.pid = 0
        #: negative for a signal, None while it runs or when the keeper was killed
        self.returncode: int | None = None
        self.error = ""
        self._keeper = keeper
        self._started = threading.Event()
        self._ended = threading.Event()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return not self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; False when it still runs after `timeout` seconds."""
        return self._ended.wait(timeout)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        if self.is_alive:
            self._keeper.send({"op": "signal", "name": self.name, "signal": int(number)})


class Keeper:
    """The keeper process of one cluster and the thread that reads its answers.

    `remove` is a folder that the keeper creates, and removes when this program is gone or closes it;
    `inherit` a descriptor that it holds as long as it runs (the lock of the data folder).
    """

    def __init__(self, *, remove: Path | None = None, inherit: int | None = None) -> None:
        self._lock = threading.Lock()
        self._children: dict[str, Child] = {}
        self._is_gone = False
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a file of this package
            [sys.executable, "-I", "-S", str(_SCRIPT), str(os.getpid()), str(remove or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=() if inherit is None else (inherit,),
            # Ctrl-C in a terminal must reach the program alone: it decides the order in which things stop.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="elsa-broker-keeper", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The keeper's own process id."""
        return self._process.pid

    def spawn(self, name: str, argv: Sequence[str], output: Path) -> Child:
        """Start a process whose output is appended to a file; raises BrokerStartError when it cannot be started."""
        child = Child(name, self)
        with self._lock:
            if self._is_gone:
                child._ended.set()
                child._started.set()
            self._children[name] = child
        self.send({"op": "spawn", "name": name, "argv": list(argv), "output": str(output)})
        if not child._started.wait(_ANSWER_SECONDS) or child.error or not child.pid:
            raise BrokerStartError(
                f"{argv[0]} could not be started: {child.error or 'the process that runs the brokers has ended'}"
            )
        return child

    def send(self, command: dict[str, object]) -> None:
        """Hand a command to the keeper; lost when the keeper has ended, its children have ended then as well."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()

    def close(self, timeout: float = 10.0) -> None:
        """End every process and the keeper; idempotent."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                answer = json.loads(line)
                with self._lock:
                    child = self._children[answer["name"]]
                if answer["event"] == "spawned":
                    child.pid = answer["pid"]
                elif answer["event"] == "failed":
                    child.error = answer["error"]
                    child._ended.set()
                else:
                    child.returncode = answer["code"]
                    child._ended.set()
                child._started.set()
        with self._lock:
            self._is_gone = True
            children = list(self._children.values())
        for child in children:
            child._ended.set()
            child._started.set()
