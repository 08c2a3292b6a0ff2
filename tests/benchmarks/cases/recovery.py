"""How long partitions stand still when a process is killed, a worker stopped, a worker renewed, a host gone.

A steady numbered stream runs over six partitions, so a partition that is served has a handler start every few
milliseconds, and a gap between two of them is a stall.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import defaultdict
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from tests.benchmarks.marks import JournalReader
from tests.benchmarks.measure import children
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import PARTITIONS, Steady, create

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.benchmarks.bench import Bench, Program
    from tests.benchmarks.marks import Entry

_PER_SECOND = 300
#: a partition that was served within this time is being served
_FRESH_SECONDS = 0.5
#: a process that has lived this long is replaced at once when it dies
_SETTLE_SECONDS = 6.0
#: longer than librdkafka's default session timeout, which a killed loop costs
_WAIT_SECONDS = 90.0


def run(bench: Bench) -> list[Row]:
    """`elsa worker`; beside it two loops, stopped as often, and killed once (a kill costs them a session of 45 s)."""
    return [*_killed(bench), *_stopped(bench), *_renewed(bench), *_host_gone(bench)]


def _killed(bench: Bench) -> list[Row]:
    """kill -9 to one of two processes, from then until the last of its partitions is served again."""
    row = Row("recovery", "kill -9 of one of two processes", "s", target=Target("value", "at most", 2.0))
    with _Scene(bench) as scene:
        worker = scene.worker("--processes", "2")
        scene.await_processes(2)
        for turn in range(bench.repeats):
            scene.settle()
            victim = children(worker.pid)[turn % 2]
            theirs = scene.partitions_of(victim)
            os.kill(victim, signal.SIGKILL)
            at = time.monotonic()
            row.elsa.append(scene.until_served(theirs, at, _by_others({victim})) - at)
            bench.say(f"recovery, kill {turn + 1}: {len(theirs)} partitions served again after {row.elsa[-1]:.2f} s")
        scene.check_complete()
    if not bench.is_quick:
        row.raw.append(_loop_killed(bench))
        bench.say(f"recovery, kill of one of two loops: served again after {row.raw[-1]:.2f} s")
    return [row]


def _loop_killed(bench: Bench) -> float:
    """The same for two loops; nobody starts the killed one anew, the other one gets its partitions."""
    with _Scene(bench) as scene:
        first, _second = scene.raw(), scene.raw()
        scene.await_processes(2)
        scene.settle()
        theirs = scene.partitions_of(first.pid)
        at = time.monotonic()
        first.kill_all()
        return scene.until_served(theirs, at, _by_others({first.pid})) - at


def _stopped(bench: Bench) -> list[Row]:
    """SIGTERM to one of two workers (or loops): the longest stall of any of its partitions."""
    row = Row("recovery", "SIGTERM of one of two workers, longest stall", "s", target=Target("value", "at most", 1.5))
    for turn in range(bench.repeats):
        for side in ("raw", "elsa"):
            with _Scene(bench) as scene:
                start = scene.raw if side == "raw" else scene.worker
                first, _second = start(), start()
                scene.await_processes(2)
                scene.settle()
                victim = first.pid if side == "raw" else children(first.pid)[0]
                theirs = scene.partitions_of(victim)
                at = time.monotonic()
                first.terminate()
                scene.until_served(theirs, at, _by_others({victim}))
                first.wait(30)
                scene.watch(1.0)
                stalls = scene.stalls(at - _FRESH_SECONDS)
                getattr(row, side).append(max(stalls[partition] for partition in theirs))
        bench.say(f"recovery, stop {turn + 1}: longest stall raw {row.raw[-1]:.2f} s, Elsa {row.elsa[-1]:.2f} s")
    return [row]


def _renewed(bench: Bench) -> list[Row]:
    """HUP to a worker of two processes: the longest stall of any partition, and the group's generations passed."""
    row = Row("recovery", "HUP of two processes, longest stall", "s", target=Target("value", "at most", 2.0))
    generations = Row("recovery", "HUP: rebalances", "generations", target=Target("value", "at most", 0))
    with _Scene(bench) as scene:
        worker = scene.worker("--processes", "2")
        scene.await_processes(2)
        for turn in range(bench.repeats):
            scene.settle()
            old, before = set(children(worker.pid)), scene.generation()
            at = time.monotonic()
            worker.hang_up()
            everything = set(range(PARTITIONS))
            scene.until_served(everything, at, _by_others(old))
            scene.watch(1.0)
            row.elsa.append(max(scene.stalls(at - _FRESH_SECONDS).values()))
            generations.elsa.append(scene.generation() - before)
            bench.say(
                f"recovery, renew {turn + 1}: longest stall {row.elsa[-1]:.2f} s,"
                f" {generations.elsa[-1]:.0f} new generations"
            )
        scene.check_complete()
    return [row, generations]


def _host_gone(bench: Bench) -> list[Row]:
    """kill -9 to a supervisor and all its processes, another one started elsewhere at once."""
    limit = Target("value", "at most", 12.0)
    row = Row("recovery", "whole host gone (session timeout 10 s)", "s", target=limit)
    for turn in range(bench.size(3, 1)):
        with _Scene(bench) as scene:
            worker = scene.worker("--processes", "2")
            scene.await_processes(2)
            scene.settle()
            gone, at = set(children(worker.pid)), time.monotonic()
            worker.kill_all()
            elsewhere = {"ELSA_INSTANCE": f"other-{turn}", "ELSA_RUNTIME_DIR": str(bench.folder / "elsewhere")}
            scene.worker("--processes", "2", env=elsewhere)
            everything = set(range(PARTITIONS))
            row.elsa.append(scene.until_served(everything, at, _by_others(gone)) - at)
            bench.say(f"recovery, host {turn + 1}: all partitions served after {row.elsa[-1]:.2f} s")
            scene.check_complete()
    return [row]


def _by_others(gone: set[int]) -> Callable[[Entry], bool]:
    """Whether a handler ran in none of these processes."""
    return lambda entry: entry.pid not in gone


class _Scene:
    """A stream, the workers of one group, and the journal of what they handle."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._topic = bench.name("recovery")
        self._group = bench.name("group")
        self._file: Path = bench.folder / bench.name("journal")
        self._reader = JournalReader(self._file)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        create(self._bench.brokers, self._topic)
        self._stack.callback(self._reader.close)
        self._stream = self._stack.enter_context(Steady(self._bench.brokers, self._topic, per_second=_PER_SECOND))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def worker(self, *options: str, env: dict[str, str] | None = None) -> Program:
        """One more `elsa worker` of the group."""
        shape = "journal-generation"
        started = self._bench.worker(shape, self._topic, self._file, *options, group=self._group, env=env)
        return self._stack.enter_context(started)

    def raw(self) -> Program:
        """One more loop of the group."""
        return self._stack.enter_context(self._bench.raw("journal", self._topic, self._file, group=self._group))

    def await_processes(self, count: int) -> None:
        """Wait until so many processes take part in serving all partitions."""

        def is_so(_: list[Entry]) -> bool:
            recent = self._recent()
            return len({e.pid for e in recent}) >= count and len({self._partition(e) for e in recent}) == PARTITIONS

        self._reader.wait_until(is_so, _WAIT_SECONDS, f"{count} processes serve all partitions")

    def settle(self) -> None:
        """Let the present processes live long enough, with every partition served at the end."""
        self.watch(_SETTLE_SECONDS)
        served = {self._partition(entry) for entry in self._recent()}
        if len(served) != PARTITIONS:
            raise AssertionError(f"only the partitions {sorted(served)} are served")

    def watch(self, seconds: float) -> None:
        """Read the journal for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._reader.read()
            time.sleep(0.02)

    def partitions_of(self, pid: int) -> set[int]:
        """What that process serves now."""
        self._reader.read()
        found = {self._partition(entry) for entry in self._recent() if entry.pid == pid}
        if not found:
            raise AssertionError(f"process {pid} serves no partition")
        return found

    def until_served(self, partitions: set[int], since: float, counts: Callable[[Entry], bool]) -> float:
        """When the last of the partitions had its first handler start that counts."""
        first: dict[int, float] = {}
        looked = len(self._reader.entries)
        while looked and self._reader.entries[looked - 1].at >= since:
            looked -= 1

        def all_served(entries: list[Entry]) -> bool:
            nonlocal looked
            for entry in entries[looked:]:
                if entry.at >= since and counts(entry):
                    first.setdefault(self._partition(entry), entry.at)
            looked = len(entries)
            return partitions <= first.keys()

        self._reader.wait_until(all_served, _WAIT_SECONDS, f"the partitions {sorted(partitions)} are served again")
        return max(first[partition] for partition in partitions)

    def stalls(self, since: float) -> dict[int, float]:
        """The longest time between two handler starts, by partition."""
        self._reader.read()
        times: dict[int, list[float]] = defaultdict(list)
        for entry in self._reader.entries:
            if entry.at >= since:
                times[self._partition(entry)].append(entry.at)
        ordered = {partition: sorted(starts) for partition, starts in times.items()}
        return {
            partition: max((later - earlier for earlier, later in itertools.pairwise(starts)), default=0.0)
            for partition, starts in ordered.items()
        }

    def generation(self) -> int:
        """The group's, as the last handler saw it."""
        self._reader.read()
        found = max(entry.generation for entry in self._recent())
        if found <= 0:
            raise AssertionError("the handlers do not know their group's generation")
        return found

    def check_complete(self) -> None:
        """End the stream; raises when a message was never handled."""
        self._stream.stop()
        sent = len(self._stream.sent_at)
        handled: set[int] = set()
        looked = 0

        def is_complete(entries: list[Entry]) -> bool:
            nonlocal looked
            handled.update(entry.number for entry in entries[looked:])
            looked = len(entries)
            return len(handled) == sent

        self._reader.wait_until(is_complete, 30.0, f"all {sent} messages of the stream are handled")

    def _recent(self) -> list[Entry]:
        entries = self._reader.entries
        oldest = time.monotonic() - _FRESH_SECONDS
        return [entry for entry in entries[-_PER_SECOND:] if entry.at >= oldest]

    @staticmethod
    def _partition(entry: Entry) -> int:
        return entry.number % PARTITIONS
