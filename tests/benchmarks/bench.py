"""One run of the benchmarks: its broker, its folder, its sizes, and the programs it starts; handed to every case."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.benchmarks.marks import read_count
from tests.benchmarks.measure import tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.benchmarks.marks import Count

_ROOT = Path(__file__).parents[2]


class Program:
    """One program under measurement; killed with everything below it when its block ends."""

    def __init__(self, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.started_at = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=_ROOT, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for pid in tree(self.pid):
            self._signal(pid, signal.SIGKILL)
        self._process.wait()

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.send_signal(signal.SIGTERM)

    def hang_up(self) -> None:
        """Ask it to restart its processes."""
        self._process.send_signal(signal.SIGHUP)

    def end(self, seconds: float = 30.0) -> None:
        """SIGTERM, and an orderly end within so many seconds."""
        self.terminate()
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        """Wait for an orderly end; raises RuntimeError with what it printed when it failed."""
        if (code := self._process.wait(seconds)) != 0:
            raise RuntimeError(f"exit code {code}: {self.said()}")

    def wait_for(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Look every few milliseconds; raises RuntimeError when the program ends first or time runs out."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self._process.poll() is not None and not ready():
                raise RuntimeError(f"{what}: it ended with {self._process.returncode}: {self.said()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: not within {seconds:g} s: {self.said()}")
            time.sleep(0.01)

    def live(self, seconds: float) -> None:
        """Let it work for so long; raises RuntimeError when it ends meanwhile."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise RuntimeError(f"it ended with {code}: {self.said()}")

    def kill_all(self) -> None:
        """SIGKILL to it and everything below it, as if the host were gone."""
        for pid in tree(self.pid):
            self._signal(pid, signal.SIGKILL)
        self._process.wait()

    def said(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-2_000:]

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@dataclass(slots=True)
class Bench:
    """`repeats` of every measurement, at full or quick size; `say` tells how far it is."""

    brokers: str
    folder: Path
    repeats: int
    is_quick: bool
    say: Callable[[str], None]
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def name(self, prefix: str) -> str:
        """A name that nothing else in this run has."""
        return f"{prefix}-{next(self._numbers)}"

    def size(self, full: int, quick: int) -> int:
        """How many messages, seconds or repetitions in this kind of run."""
        return quick if self.is_quick else full

    def raw(
        self,
        shape: str,
        topic: str,
        file: Path,
        *,
        count: int = 0,
        group: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Program:
        """Start a hand-written loop of rawloop.py."""
        command = [sys.executable, "-m", "tests.benchmarks.rawloop", shape]
        return self._start(command, self._env(topic, file, count, group or self.name("raw")) | dict(env or {}))

    def worker(
        self,
        shape: str,
        topic: str,
        file: Path,
        *options: str,
        count: int = 0,
        group: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Program:
        """Start `elsa worker` with a handler of apps.py."""
        command = [sys.executable, "-m", "elsa", "worker", "tests.benchmarks.apps:app", *options]
        own = self._env(topic, file, count, group or self.name("elsa")) | {"BENCH_SHAPE": shape} | dict(env or {})
        return self._start(command, own)

    def program(
        self,
        shape: str,
        topic: str,
        file: Path,
        *arguments: str,
        count: int,
        env: Mapping[str, str] | None = None,
    ) -> Program:
        """Start apps.py as a plain program with the App inside it."""
        command = [sys.executable, "-m", "tests.benchmarks.apps", *arguments]
        own = self._env(topic, file, count, self.name("elsa")) | {"BENCH_SHAPE": shape} | dict(env or {})
        return self._start(command, own)

    def _env(self, topic: str, file: Path, count: int, group: str) -> dict[str, str]:
        # settings of the person who runs this would change what is measured
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ELSA_", "BENCH_"))}
        return {
            **inherited,
            "ELSA_BROKERS": self.brokers,
            "ELSA_NAME": group,
            "ELSA_RUNTIME_DIR": str(self.folder / "runtime"),
            "ELSA_LOG_LEVEL": "warning",
            "BENCH_TOPIC": topic,
            "BENCH_FILE": str(file),
            "BENCH_COUNT": str(count),
        }

    def _start(self, command: list[str], env: Mapping[str, str]) -> Program:
        return Program(command, env, self.folder / f"{self.name('program')}.log")


def counted(program: Program, file: Path, seconds: float) -> Count:
    """The Count that a program writes when it has handled everything; raises when a promise was broken."""
    program.wait_for(file.exists, seconds, "all messages are handled")
    count = read_count(file)
    if count.missing or count.out_of_order:
        raise AssertionError(f"{count.missing} messages were missing, {count.out_of_order} out of order")
    return count


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def scrape(port: int) -> dict[str, float]:
    """The metrics of a worker: the sum of every series of each name."""
    found: dict[str, float] = {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            name = series.partition("{")[0]
            found[name] = found.get(name, 0.0) + float(value)
    return found
