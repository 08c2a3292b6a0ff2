"""Handlers of 5 ms of pure Python on two cores: child processes of one worker, and two worker processes.

The limit is what two plain processes do at the same time that burn the same loops and know nothing of Kafka. Measured
in a steady state: from 4 s after the first call (by then both have joined, and their partitions have stopped moving)
the time that the next 2,000 calls take to begin; there are more messages than that in the topic.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.benchmarks import work
from tests.benchmarks.marks import JournalReader
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import fill

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench, Program

_WORK_SECONDS = 0.005
_SETTLE_SECONDS = 4.0
_SECONDS = 90.0


def run(bench: Bench) -> list[Row]:
    """Two burning processes against `executor="process"` with concurrency=2, and against `--processes 2`."""
    messages = bench.size(2_000, 500)
    topic = bench.name("cpu")
    # 400 a second at best, until the steady state and for as long as it is looked at, and some to spare
    fill(bench.brokers, topic, messages * 2 + round(3 * _SETTLE_SECONDS / _WORK_SECONDS))
    loops = {"BENCH_LOOPS": str(work.loops_for(_WORK_SECONDS))}
    at_least = Target("ratio", "at least", 0.85)
    children = Row("cpu", 'executor="process", concurrency=2', "calls/s", target=at_least)
    processes = Row("cpu", "--processes 2", "calls/s", target=at_least)
    for turn in range(bench.repeats):
        limit = _limit(bench, messages, loops)
        for row, shape, count in ((children, "burn-process", "1"), (processes, "burn", "2")):
            file = bench.folder / bench.name("journal")
            with bench.worker(shape, topic, file, "--processes", count, env=loops) as program:
                row.elsa.append(_rate(JournalReader(file), messages))
                program.end()
            row.raw.append(limit)
        bench.say(
            f"cpu {turn + 1}: limit {limit:.0f}/s, child processes {children.elsa[-1]:.0f}/s,"
            f" two processes {processes.elsa[-1]:.0f}/s"
        )
    return [children, processes]


def _limit(bench: Bench, messages: int, loops: dict[str, str]) -> float:
    file = bench.folder / bench.name("journal")
    with ExitStack() as stack:
        programs: list[Program] = [stack.enter_context(bench.raw("burn", "", file, env=loops)) for _ in range(2)]
        rate = _rate(JournalReader(file), messages)
        for program in programs:
            program.kill_all()
    return rate


def _rate(reader: JournalReader, messages: int) -> float:
    """Calls per second once it is steady, of all processes that write this journal."""
    reader.wait_until(bool, _SECONDS, "the first call")
    begin = reader.entries[0].at + _SETTLE_SECONDS
    reader.wait_until(
        lambda entries: sum(entry.at >= begin for entry in entries) > messages, _SECONDS, f"{messages} steady calls"
    )
    times = sorted(entry.at for entry in reader.entries if entry.at >= begin)
    reader.close()
    return messages / (times[messages] - times[0])
