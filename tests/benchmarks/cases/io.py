"""5,000 messages over 500 keys in 6 partitions, handlers that wait 10 ms, the order of each key kept.

What is compared is what a person would write by hand: all keys of a batch at once on an event loop, and a barrier
after each batch. A count with a single violation of a key's order fails the case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.bench import counted
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import fill

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_SECONDS = 120.0


def run(bench: Bench) -> list[Row]:
    """A loop with a barrier against `ordering="key"`: 500 calls at once on the event loop, 100 in threads."""
    messages = bench.size(5_000, 5_000)
    topic = bench.name("io")
    fill(bench.brokers, topic, messages)
    loop = Row("io", "async, concurrency=500", "messages/s", target=Target("value", "at least", 15_000))
    threads = Row("io", "threads, concurrency=100", "messages/s", target=Target("value", "at least", 6_000))
    for turn in range(bench.repeats):
        file = bench.folder / bench.name("count")
        with bench.raw("io", topic, file, count=messages) as program:
            raw = counted(program, file, _SECONDS)
        for row, shape in ((loop, "io"), (threads, "io-threads")):
            file = bench.folder / bench.name("count")
            with bench.worker(shape, topic, file, "--processes", "1", count=messages) as program:
                count = counted(program, file, _SECONDS)
                program.end()
            row.raw.append(raw.rate)
            row.elsa.append(count.rate)
        bench.say(
            f"io {turn + 1}: raw {raw.rate:,.0f}/s, async {loop.elsa[-1]:,.0f}/s, threads {threads.elsa[-1]:,.0f}/s"
        )
    return [loop, threads]
