"""The workers: each an `elsa worker` of one process, as if on a host of its own; they are killed, frozen, scaled."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.benchmarks.measure import children, tree
from tests.stress.account import Trouble
from tests.stress.schedule import MOST_WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]
#: a stop takes at most 25 s, and the machine may be busy
_STOP_SECONDS = 60.0
#: handlers take far less than this
_LONG_SECONDS = 15.0
_WATCH_SECONDS = 1.0
_READY_SECONDS = 90.0
#: log events that tell of something that went wrong by itself
_EVENTS = ("group_restart", "group_ended", "partition_restart", "partition_halted", "hook_failed", "forced")


class Worker:
    """One place for an `elsa worker`; whoever does something to it holds `lock`."""

    def __init__(self, number: int, brokers: str, folder: Path, session: float) -> None:
        self.number = number
        self.lock = threading.Lock()
        self.logs: list[Path] = []
        #: how often its worker process was killed on purpose
        self.kills = 0
        #: how often it ended without being told to
        self.ends = 0
        self.codes: list[int] = []
        self._folder = folder
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ELSA_", "STRESS_")) or name == "STRESS_UNTRIMMED"
        }
        self._env = own | {
            "ELSA_BROKERS": brokers,
            "ELSA_INSTANCE": f"host-{number}",
            "ELSA_RUNTIME_DIR": str(folder / f"run-{number}"),
            "ELSA_SESSION_TIMEOUT": f"{session}s",
            "ELSA_JSON_LOGS": "true",
            "ELSA_REPLICATION": "3",
            "STRESS_WORKER": str(number),
            "STRESS_JOURNAL": str(folder),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; does nothing when it runs."""
        if self.is_running:
            return
        log = self._folder / f"worker-{self.number}-{len(self.logs)}.log"
        self.logs.append(log)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "elsa", "worker", "tests.stress.app:app", "--processes", "1"],
                cwd=_ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def revive(self) -> None:
        """Start it again when it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            self.ends += 1
            self.start()

    def wait_ready(self) -> None:
        """Wait until its process has said so; raises RuntimeError."""
        end = time.monotonic() + _READY_SECONDS
        while not any(event.get("event") == "ready" for event in self.events(self.logs[-1])):
            if not self.is_running or time.monotonic() > end:
                raise RuntimeError(f"worker {self.number} is not ready: {self.logs[-1].read_text()[-3000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """TERM, and wait for its end; by force when it takes too long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            try:
                self.codes.append(self._process.wait(_LONG_SECONDS))
            except subprocess.TimeoutExpired:
                # what it waits for is written to its log
                self._process.send_signal(signal.SIGUSR1)
                self.codes.append(self._process.wait(_STOP_SECONDS))
        except subprocess.TimeoutExpired:
            self.codes.append(-int(signal.SIGKILL))
            self.kill_host()
        self._process = None

    def kill(self) -> None:
        """Kill the worker process alone."""
        if self._process is not None:
            for pid in children(self._process.pid):
                _signal(pid, signal.SIGKILL)
                self.kills += 1

    def kill_host(self) -> None:
        """Kill everything of it."""
        if self._process is None:
            return
        # the supervisor first, and all of them stopped before one is killed: it must not replace what is gone
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in tree(self._process.pid):
                _signal(pid, number)
        self._process.wait()
        self._process = None

    def roll(self) -> None:
        """HUP; not before it is there, for it ends a program that does not listen yet."""
        if self._process is not None:
            self.wait_ready()
            self._process.send_signal(signal.SIGHUP)

    def freeze(self) -> list[int]:
        """Stop everything of it where it is; the process ids for `thaw`."""
        pids: list[int] = [] if self._process is None else tree(self._process.pid)
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        return pids

    def thaw(self, pids: list[int]) -> None:
        """Have what was frozen go on."""
        for pid in reversed(pids):
            _signal(pid, signal.SIGCONT)

    @staticmethod
    def events(log: Path) -> Iterator[dict[str, object]]:
        """The JSON lines of a log."""
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                with contextlib.suppress(ValueError):
                    yield json.loads(line)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Fleet:
    """All workers; number 0 reaches Kafka through the wire. Every fault leaves its Trouble in `troubles`."""

    def __init__(self, brokers: str, proxied: str, folder: Path, *, session: float) -> None:
        self._session = session
        self.workers = [
            Worker(number, brokers if number else proxied, folder, session) for number in range(MOST_WORKERS)
        ]
        self.troubles: list[Trouble] = []
        self.count = 0
        self._is_over = threading.Event()
        self._watch = threading.Thread(target=self._revive, name="stress-fleet", daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_over.set()
        self._watch.join()
        for worker in self.workers:
            worker.kill_host()

    def _revive(self) -> None:
        """Start again what has ended by itself, as an orchestrator does."""
        while not self._is_over.wait(_WATCH_SECONDS):
            for worker in self.workers[: self.count]:
                # somebody who does something to it knows what it has to do
                if worker.lock.acquire(blocking=False):
                    try:
                        worker.revive()
                    finally:
                        worker.lock.release()

    def scale(self, count: int) -> None:
        """Have so many workers; surplus ones are stopped in order."""
        self.count = count
        for worker in self.workers[:count]:
            with worker.lock:
                worker.start()
        surplus = [threading.Thread(target=self._stop, args=(worker,)) for worker in self.workers[count:]]
        for thread in surplus:
            thread.start()
        for thread in surplus:
            thread.join()

    def _stop(self, worker: Worker) -> None:
        with worker.lock:
            worker.stop()

    def kill(self, number: int) -> None:
        """kill -9 of a worker process."""
        worker = self.workers[number]
        with worker.lock, self._trouble("kill", number):
            worker.kill()

    def kill_host(self, number: int, away: float) -> None:
        """kill -9 of a worker and its supervisor, which are back after `away` seconds."""
        worker = self.workers[number]
        with worker.lock, self._trouble("kill-host", number):
            worker.kill_host()
            time.sleep(away)
            worker.start()

    def term(self, number: int, away: float) -> None:
        """TERM; another one starts `away` seconds after the end."""
        worker = self.workers[number]
        with worker.lock:
            worker.stop()
            time.sleep(away)
            worker.start()

    def roll(self, number: int) -> None:
        """HUP."""
        with self.workers[number].lock:
            self.workers[number].roll()

    def freeze(self, number: int, seconds: float) -> None:
        """SIGSTOP for so long."""
        worker = self.workers[number]
        with worker.lock, self._trouble("freeze", number, fences=seconds > self._session):
            pids = worker.freeze()
            time.sleep(seconds)
            worker.thaw(pids)

    @contextlib.contextmanager
    def _trouble(self, what: str, number: int | None, *, fences: bool = False) -> Iterator[None]:
        begins = time.monotonic()
        yield
        self.note(Trouble(what, begins, time.monotonic(), number, fences))

    def note(self, trouble: Trouble) -> None:
        """Something happened to a worker, or to Kafka."""
        self.troubles.append(trouble)

    def notes(self) -> dict[str, int]:
        """What happened by itself, by its name in the logs; deaths of processes that nobody killed are "died"."""
        found: Counter[str] = Counter()
        for worker in self.workers:
            replaced = 0
            for log in worker.logs:
                for event in worker.events(log):
                    name = str(event.get("event"))
                    replaced += name == "replaced"
                    if name in _EVENTS:
                        found[name] += 1
            # a process that is killed before it was ready is not replaced: its supervisor ends
            found["died"] += max(0, replaced + worker.ends - worker.kills)
            found["stopped badly"] += sum(code != 0 for code in worker.codes)
        return {name: count for name, count in sorted(found.items()) if count}
