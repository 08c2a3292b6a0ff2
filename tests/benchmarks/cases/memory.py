"""A million waiting messages and a handler of a millisecond: what the whole `elsa worker` keeps in memory.

The same run tells how much is fetched more than once, from the worker's own metrics: the client's counters of bytes
come from its statistics, so two moments at which they had just changed are compared.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks.bench import free_port, scrape
from tests.benchmarks.measure import Memory, tree_memory
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import BODY_BYTES, fill

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench, Program

#: what the client counts of a message: value and key (10 of 500 have one digit, 90 two)
_MESSAGE_BYTES = BODY_BYTES + 2.78
_SAMPLE_SECONDS = 0.5
#: statistics come every 15 s: long enough for four of them
_METRICS_SECONDS = 67.0


def run(bench: Bench) -> list[Row]:
    """A poll() loop with the same backlog against the whole tree of `elsa worker --processes 1`."""
    rss = Row("memory", "largest resident, all processes", "MB", target=Target("value", "at most", 150))
    pss = Row("memory", "largest resident, shared pages divided", "MB")
    fetched = Row("memory", "bytes fetched by bytes taken", "ratio", target=Target("value", "at most", 1.2))
    seconds = bench.size(30, 10)
    topic = bench.name("memory")
    fill(bench.brokers, topic, bench.size(1_000_000, 200_000))
    for turn in range(bench.size(3, 1)):
        file = bench.folder / bench.name("none")
        with bench.raw("slow", topic, file) as program:
            raw = _largest(program, seconds)
        port = free_port()
        # the counters are looked at in the first turn only: it takes a while
        watched = _METRICS_SECONDS if turn == 0 and not bench.is_quick else 0.0
        with bench.worker("slow", topic, file, "--processes", "1", "--metrics-port", str(port)) as program:
            mine = _largest(program, seconds)
            if watched:
                fetched.elsa.append(_refetched(program, port, watched))
            program.end()
        for row, values in ((rss, (raw.rss, mine.rss)), (pss, (raw.pss, mine.pss))):
            row.raw.append(values[0])
            row.elsa.append(values[1])
        bench.say(f"memory {turn + 1}: raw {raw.rss:.0f} MB, Elsa {mine.rss:.0f} MB ({mine.pss:.0f} MB shared divided)")
    return [rss, pss, fetched] if fetched.elsa else [rss, pss]


def _largest(program: Program, seconds: float) -> Memory:
    samples = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(_SAMPLE_SECONDS)
        samples.append(tree_memory(program.pid))
    return Memory(max(sample.rss for sample in samples), max(sample.pss for sample in samples))


def _refetched(program: Program, port: int, seconds: float) -> float:
    """Fetched by taken bytes between the first and the last news of the client within so many seconds."""
    news: list[tuple[float, float]] = []
    while time.monotonic() < program.started_at + seconds:
        values = scrape(port)
        fetched = values.get("elsa_fetched_bytes_total", 0.0)
        taken = values.get("elsa_messages_received_total", 0.0) * _MESSAGE_BYTES
        if fetched and (not news or news[-1][0] != fetched):
            news.append((fetched, taken))
        time.sleep(_SAMPLE_SECONDS)
    if len(news) < 2:
        raise AssertionError(f"the client told its statistics {len(news)} times in {seconds:g} s")
    return (news[-1][0] - news[0][0]) / (news[-1][1] - news[0][1])
