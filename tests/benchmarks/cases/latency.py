"""From the call of produce() to the start of the handler, in an idle worker that gets 500 messages a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks.marks import JournalReader
from tests.benchmarks.measure import percentile
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import Steady, create

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_PER_SECOND = 500
#: the first ones find a fetch that was begun before there were any
_WARM_UP = 500


def run(bench: Bench) -> list[Row]:
    """A poll() loop against `elsa worker`, each with the stream to itself."""
    middle = Row("latency", "p50", "ms", target=Target("ratio", "at most", 2.0))
    tail = Row("latency", "p99", "ms", target=Target("ratio", "at most", 1.5))
    worst = Row("latency", "largest", "ms")
    for turn in range(bench.repeats):
        for side in ("raw", "elsa"):
            times = _times(bench, side)
            for row, share in ((middle, 0.5), (tail, 0.99), (worst, 1.0)):
                getattr(row, side).append(percentile(times, share) * 1_000)
        bench.say(
            f"latency {turn + 1}: raw p50 {middle.raw[-1]:.2f} p99 {tail.raw[-1]:.2f} ms,"
            f" Elsa p50 {middle.elsa[-1]:.2f} p99 {tail.elsa[-1]:.2f} ms"
        )
    return [middle, tail, worst]


def _times(bench: Bench, side: str) -> list[float]:
    topic, file = bench.name("latency"), bench.folder / bench.name("journal")
    create(bench.brokers, topic)
    wanted = _PER_SECOND * bench.size(10, 3) + _WARM_UP
    reader = JournalReader(file)
    start = bench.raw if side == "raw" else bench.worker
    with start("journal", topic, file) as program, Steady(bench.brokers, topic, per_second=_PER_SECOND) as stream:
        # what is sent before the worker is there waits for its start, and is left out
        reader.wait_until(lambda entries: len(entries) > 0, 30, "the first message is handled")
        first = len(stream.sent_at) + _WARM_UP
        while len(stream.sent_at) < first + wanted - _WARM_UP:
            time.sleep(0.05)
        stream.stop()
        sent = stream.sent_at
        reader.wait_until(lambda entries: len(entries) >= len(sent), 30, "all messages are handled")
        program.end()
    reader.close()
    return [entry.at - sent[entry.number] for entry in reader.entries if entry.number >= first]
