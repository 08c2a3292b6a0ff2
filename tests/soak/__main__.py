"""`make soak`: a worker at full load with a million keys; ends with 0 when its memory stayed flat and nothing was lost.

Every topic has a backlog all the time, handlers fail, wait, send and defer (plan.py), and every message is followed by
its key (ledger.py). What is judged:

- memory of each process and of all together: what the line through the second half gains is at most 5 % of its level,
  or 10 MB (growth.py says why), and the worker process has 180 MB at most; threads and open files by the same line;
  all this in runs of five minutes and more, shorter ones only show it
- every message handled, those of one key in their order and one after the other, every dead letter and every message
  that a handler sent in its topic, everything committed
- nothing left in the engine's tables when there is nothing more to do
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from elsa.broker import EmbeddedKafka
from tests.benchmarks import measure, streams
from tests.benchmarks.bench import Program
from tests.soak import plan
from tests.soak.findings import Findings
from tests.soak.ledger import GIVEN_UP, HANDLED, SENT, SENT_ON, Ledger
from tests.soak.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = Path(__file__).parents[2]
_SAMPLE_SECONDS = 1.0
#: the slowest calls, their retries and what waits behind them
_DRAIN_SECONDS = 120.0


class Soak:
    """One run in one folder, against one broker."""

    def __init__(self, brokers: str, folder: Path, seconds: float) -> None:
        self._brokers = brokers
        self._folder = folder
        self._seconds = seconds
        self.findings = Findings()
        self.ledgers = {lane.topic: Ledger(folder, lane.topic, lane.keys) for lane in plan.LANES}

    def run(self) -> None:
        """Load it, look at it, let it come to an end; the judgement is in `findings`."""
        for lane in plan.LANES:
            streams.create_all(self._brokers, [lane.topic], plan.PARTITIONS, _BOUNDED)
        streams.create_all(self._brokers, [plan.OUT], plan.PARTITIONS, _BOUNDED)
        streams.committed(self._brokers, plan.OUT, "warm-up")
        with self._loader() as loader:
            loader.wait_for(self._is_backlogged, 60, "every topic has a backlog")
            with self._worker() as worker:
                worker.wait_for(lambda: self._total(HANDLED) > 0, 60, "the first message is handled")
                samples = self._watched(worker)
                loader.end(90)
                self._drained(worker)
                samples.read_sizes(self._folder / "sizes.jsonl")
                samples.judge(self.findings)
                worker.end(60)
        self._check()

    def _loader(self) -> Program:
        command = [sys.executable, "-m", "tests.soak.load", self._brokers, str(self._folder)]
        return Program(command, self._env(), self._folder / "load.log")

    def _worker(self) -> Program:
        command = [sys.executable, "-m", "elsa", "worker", "tests.soak.app:app", "--processes", "1"]
        return Program(command, self._env(), self._folder / "worker.log")

    def _env(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ELSA_")}
        return inherited | {
            "ELSA_BROKERS": self._brokers,
            "ELSA_RUNTIME_DIR": str(self._folder / "runtime"),
            "ELSA_LOG_LEVEL": "error",
            "SOAK_FOLDER": str(self._folder),
            # a slow head must end within the run
            "SOAK_SLOW_SECONDS": str(min(10.0, self._seconds / 10)),
        }

    def _total(self, fact: int) -> int:
        return sum(ledger.facts[fact] for ledger in self.ledgers.values())

    def _is_backlogged(self) -> bool:
        return all(self.ledgers[lane.topic].facts[SENT] >= lane.backlog for lane in plan.LANES)

    def _watched(self, worker: Program) -> Samples:
        samples = Samples(worker.pid)
        begun, handled = time.monotonic(), self._total(HANDLED)
        while (passed := time.monotonic() - begun) < self._seconds:
            worker.live(_SAMPLE_SECONDS)
            samples.take()
            if len(samples.times) % 30 == 0:
                rate = (self._total(HANDLED) - handled) / (time.monotonic() - begun)
                say(f"{passed:5.0f} s: {rate:,.0f} messages/s, {samples.last()}")
        self.findings.messages = self._total(HANDLED) - handled
        self.findings.seconds = time.monotonic() - begun
        return samples

    def _drained(self, worker: Program) -> None:
        def is_so() -> bool:
            return self._total(HANDLED) == self._total(SENT)

        self._or_finding(worker, is_so, "messages were sent and not handled")

        def is_at_rest() -> bool:
            left = Samples.left(self._folder / "sizes.jsonl")
            self.findings.left = left
            return not any(left.values())

        self._or_finding(worker, is_at_rest, "something is left in the engine's tables")

    def _or_finding(self, worker: Program, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _DRAIN_SECONDS
        worker.wait_for(lambda: ready() or time.monotonic() > deadline, _DRAIN_SECONDS + 30, what)
        if not ready():
            self.findings.blame(what)

    def _check(self) -> None:
        """What the ledgers and the broker have."""
        findings, brokers = self.findings, self._brokers
        for lane in plan.LANES:
            ledger = self.ledgers[lane.topic]
            findings.add_ledger(lane.topic, ledger)
            done = streams.committed(brokers, lane.topic, plan.GROUP)
            findings.expect(f"{lane.topic}: committed", done, ledger.facts[SENT])
            dead = streams.ends(brokers, f"{lane.topic}.{plan.GROUP}.dlq") if ledger.facts[GIVEN_UP] else 0
            findings.expect(f"{lane.topic}: dead letters", dead, ledger.facts[GIVEN_UP])
        sent_on = sum(ledger.facts[SENT_ON] for ledger in self.ledgers.values())
        findings.expect("sent by handlers", streams.ends(brokers, plan.OUT), sent_on)


#: a soak of ten minutes must not fill a disk: what is kept is many times the backlog
_BOUNDED = {"retention.bytes": str(64 << 20), "segment.bytes": str(16 << 20)}


def say(text: str) -> None:
    """Tell how far it is, beside the table."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """0 when nothing grew and nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="A worker at full load, looked at.")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    options = parser.parse_args()
    say(measure.machine())
    with tempfile.TemporaryDirectory(prefix="elsa-soak-") as folder, EmbeddedKafka(ephemeral=True) as kafka:
        soak = Soak(kafka.bootstrap, Path(folder), options.seconds)
        soak.run()
    print(soak.findings.table())
    print(soak.findings.verdict())
    return 0 if soak.findings.is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
