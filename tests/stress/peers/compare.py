"""`make stress PEERS=1`: the same numbered stream and one `kill -9` for Elsa, Celery on Kafka and taskiq-aio-kafka.

Each has a Kafka of its own, 6 partitions and two workers; one of them is killed in the middle of the stream with
everything that it started, and is back two seconds later. The peers come from PyPI into a virtual environment that is
thrown away.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from elsa.broker import EmbeddedKafka
from elsa.kafka import probe
from tests.benchmarks.measure import tree
from tests.stress import account, journal
from tests.stress.account import Evidence
from tests.stress.kinds import Kind
from tests.stress.peers.common import SENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ROOT = Path(__file__).parents[3]
_PACKAGES = ("celery", "confluent-kafka", "taskiq", "taskiq-aio-kafka")
_TOPIC = "stress-peer"
_PER_SECOND = 40
_SECONDS = 60
_KILL_AFTER = 25.0
_AWAY_SECONDS = 2.0
#: without progress for so long, what is left is lost
_PATIENCE_SECONDS = 60.0
#: messages of the first seconds wait for the workers' start, which is not measured here
_START_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A framework: the module of its app, and what runs a worker of it (after the interpreter)."""

    name: str
    module: str
    worker: tuple[str, ...]
    is_foreign: bool = True


_APPS = "tests.stress.peers"
PEERS = (
    Peer("elsa", f"{_APPS}.elsa_app", ("-m", "elsa", "worker", f"{_APPS}.elsa_app:app"), is_foreign=False),
    Peer(
        "celery",
        f"{_APPS}.celery_app",
        # what needs broadcasts is off: kombu has none on Kafka
        (*("-m", "celery", "-A", f"{_APPS}.celery_app:app", "worker"), *("--without-gossip", "--without-mingle")),
    ),
    Peer("taskiq", f"{_APPS}.taskiq_app", ("-m", "taskiq", "worker", f"{_APPS}.taskiq_app:broker", "--workers", "1")),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the messages that Kafka has confirmed; `longest_wait` in seconds from there to the handling."""

    name: str
    produced: int
    handled: int
    lost: int
    duplicates: int
    longest_wait: float

    def __str__(self) -> str:
        cells = (self.produced, self.handled, self.lost, self.duplicates, self.longest_wait)
        return self.name.ljust(8) + "".join(f"{cell:>14,}" for cell in cells)


def main(say: Callable[[str], None]) -> int:
    """Run all of them; 1 when Elsa has lost something."""
    results = []
    with tempfile.TemporaryDirectory(prefix="elsa-peers-") as text:
        folder = Path(text)
        say("installing the peers")
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
        for peer in PEERS:
            own = folder / peer.name
            own.mkdir()
            with EmbeddedKafka(ephemeral=True) as kafka:
                result = _Trial(peer, str(python) if peer.is_foreign else sys.executable, kafka.bootstrap, own).run()
            results.append(result)
            say(str(result))
    heads = ("produced", "handled", "lost", "duplicates", "longest wait")
    print("peer".ljust(8) + "".join(f"{head:>14}" for head in heads))
    for result in results:
        print(result)
    return 1 if any(result.name == "elsa" and result.lost for result in results) else 0


class _Trial:
    """One framework's stream, kill and account."""

    def __init__(self, peer: Peer, python: str, brokers: str, folder: Path) -> None:
        self._peer = peer
        self._python = python
        self._folder = folder
        own = {name: value for name, value in os.environ.items() if not name.startswith(("ELSA_", "PEER_"))}
        self._env = own | {
            "PYTHONPATH": str(_ROOT),
            "ELSA_RUNTIME_DIR": str(folder),
            "PEER_BROKERS": brokers,
            "PEER_TOPIC": _TOPIC,
            "PEER_FOLDER": str(folder),
            "PEER_RATE": str(_PER_SECOND),
        }
        self._workers: list[subprocess.Popen[bytes]] = []
        self._others: list[subprocess.Popen[bytes]] = []
        probe.create_topic(brokers, _TOPIC, 6)

    def run(self) -> Result:
        """The whole trial."""
        try:
            self._workers += [self._start(0), self._start(1)]
            sender = self._send()
            self._others.append(sender)
            time.sleep(_KILL_AFTER)
            _kill(self._workers[0])
            time.sleep(_AWAY_SECONDS)
            self._workers[0] = self._start(0)
            if sender.wait() != 0:
                raise RuntimeError(f"{self._peer.name} could not send: {self._said('sender')}")
            sent = self._sent()
            self._wait_until_settled(len(sent))
            return self._account(sent)
        finally:
            for process in (*self._workers, *self._others):
                _kill(process)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        return self._spawn(self._peer.worker, f"worker-{number}", PEER_WORKER=str(number))

    def _send(self) -> subprocess.Popen[bytes]:
        # not by -m: tasks would be named after __main__
        program = ("-c", f"from {self._peer.module} import send; send()")
        return self._spawn(program, "sender", PEER_COUNT=str(_PER_SECOND * _SECONDS), PEER_WORKER="9")

    def _spawn(self, arguments: Sequence[str], log: str, **env: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{log}.log").open("ab") as output:
            return subprocess.Popen(
                [self._python, *arguments],
                cwd=_ROOT,
                env=self._env | env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _said(self, log: str) -> str:
        return (self._folder / f"{log}.log").read_text(errors="replace")[-3_000:]

    def _sent(self) -> dict[int, float]:
        """When Kafka had confirmed each number."""
        found = {}
        for line in (self._folder / "sender.log").read_text(errors="replace").splitlines():
            if line.startswith(SENT):
                _, number, at = line.split()
                found[int(number)] = float(at)
        return found

    def _wait_until_settled(self, count: int) -> None:
        """Wait until so many are handled, or nothing happens any more."""
        known, since = -1, time.monotonic()
        while known < count and time.monotonic() - since < _PATIENCE_SECONDS:
            time.sleep(1.0)
            now = len({record.number for record in journal.read(self._folder)})
            if now != known:
                known, since = now, time.monotonic()

    def _account(self, sent: dict[int, float]) -> Result:
        handled = journal.read(self._folder)
        if not handled:
            raise RuntimeError(f"{self._peer.name} has handled nothing at all: {self._said('worker-1')}")
        line = account.settle(Kind(self._peer.name), Evidence(set(sent), (), handled, (), 0.0, 0.0))
        first: dict[int, float] = {}
        for record in handled:
            first.setdefault(record.number, record.at)
        begun = min(sent.values()) + _START_SECONDS
        waits = [first[number] - at for number, at in sent.items() if number in first and at > begun]
        return Result(
            line.kind, line.produced, line.handled, line.lost, line.duplicates, round(max(waits, default=0.0), 1)
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and everything below it."""
    if process.poll() is not None:
        return
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in tree(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    process.wait()
