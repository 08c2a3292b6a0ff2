"""One worker process with 1,000 partitions of 100 topics: how soon it serves all, what it costs idle and busy.

The time until all are served runs from the start of the program, so it has the imports, the join and the assignment
in it; what the group manager needs for the assignment is only a part of it. One handler serves the list of topics. The
cost of a message is measured with as many messages in 1,000 partitions as in 6, and with a handler (so a pool of
threads) for each topic; the loop written by hand shows how much of the difference is the client's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks.bench import counted
from tests.benchmarks.marks import JournalReader
from tests.benchmarks.measure import tree_memory, tree_seconds
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import spread

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench
    from tests.benchmarks.marks import Count

_TOPICS, _EACH = 100, 10
_ALL = _TOPICS * _EACH
#: starting is over, the first metadata and statistics too
_SETTLE_SECONDS = 8.0
_SAMPLE_SECONDS = 0.5
_SECONDS = 120.0


def run(bench: Bench) -> list[Row]:
    """What 1,000 partitions take, beside 6 and beside a consume() loop."""
    return [*_served(bench), *_cost(bench), *_backlogged(bench)]


def _served(bench: Bench) -> list[Row]:
    """From nothing to all partitions served, and then nothing to do."""
    seconds = bench.size(20, 10)
    start = Row("scale", f"start to all {_ALL:,} partitions served", "s", target=Target("value", "at most", 5.0))
    first = Row("scale", "start to the first partition served", "s")
    idle = Row("scale", f"idle CPU over {seconds} s, whole tree", "% of a core", target=Target("value", "at most", 5.0))
    memory = Row("scale", "resident when idle, whole tree", "MB", target=Target("value", "at most", 250.0))
    topics = _topics(bench)
    spread(bench.brokers, topics, _EACH, _ALL)
    for turn in range(bench.size(3, 1)):
        file = bench.folder / bench.name("journal")
        reader = JournalReader(file)
        with bench.worker("journal-list", ",".join(topics), file, "--processes", "1") as program:
            reader.wait_until(lambda entries: len(entries) >= _ALL, _SECONDS, "every partition is served")
            first.elsa.append(reader.entries[0].at - program.started_at)
            start.elsa.append(max(entry.at for entry in reader.entries) - program.started_at)
            time.sleep(_SETTLE_SECONDS)
            before, begun = tree_seconds(program.pid), time.monotonic()
            time.sleep(seconds)
            idle.elsa.append(100 * (tree_seconds(program.pid) - before) / (time.monotonic() - begun))
            memory.elsa.append(tree_memory(program.pid).rss)
            program.end()
        reader.close()
        bench.say(
            f"scale {turn + 1}: first partition after {first.elsa[-1]:.2f} s, all after {start.elsa[-1]:.2f} s,"
            f" idle {idle.elsa[-1]:.2f} %, {memory.elsa[-1]:.0f} MB"
        )
    return [start, first, idle, memory]


def _cost(bench: Bench) -> list[Row]:
    """As many messages in 1,000 partitions as in 6."""
    messages = 200_000
    many, few = _topics(bench), [bench.name("few")]
    spread(bench.brokers, many, _EACH, messages)
    spread(bench.brokers, few, 6, messages)
    at_most = Target("value", "at most", 1.5)
    cost = Row("scale", f"CPU per message, {_ALL:,} partitions by 6", "ratio", target=at_most)
    pools = Row("scale", f"the same, {_TOPICS} handlers", "ratio")
    rate = Row("scale", f"rate, {_ALL:,} partitions", "messages/s")
    pools_rate = Row("scale", f"rate, {_ALL:,} partitions, {_TOPICS} handlers", "messages/s")
    few_rate = Row("scale", "rate, 6 partitions", "messages/s")
    for turn in range(bench.repeats):
        raw_few, raw_many = _raw(bench, few, 6, messages), _raw(bench, many, _EACH, messages)
        base = _worker(bench, "count-list", few, 6, messages)
        wide = _worker(bench, "count-list", many, _EACH, messages)
        split = _worker(bench, "count-everywhere", many, _EACH, messages)
        for row, count in ((cost, wide), (pools, split)):
            row.raw.append(raw_many.cpu_seconds / raw_few.cpu_seconds)
            row.elsa.append(count.cpu_seconds / base.cpu_seconds)
        for row, raw, mine in ((rate, raw_many, wide), (pools_rate, raw_many, split), (few_rate, raw_few, base)):
            row.raw.append(raw.rate)
            row.elsa.append(mine.rate)
        bench.say(
            f"scale {turn + 1}: CPU per 100,000 with 6 partitions {base.cpu_per_100k:.2f} s, with {_ALL:,}"
            f" {wide.cpu_per_100k:.2f} s, with {_TOPICS} handlers {split.cpu_per_100k:.2f} s;"
            f" {base.rate:,.0f}/s, {wide.rate:,.0f}/s, {split.rate:,.0f}/s"
            f" (loop {raw_few.cpu_per_100k:.2f} s and {raw_many.cpu_per_100k:.2f} s)"
        )
    return [cost, pools, rate, pools_rate, few_rate]


def _raw(bench: Bench, topics: list[str], partitions: int, messages: int) -> Count:
    file = bench.folder / bench.name("count")
    env = {"BENCH_PARTITIONS": str(partitions)}
    with bench.raw("count-list", ",".join(topics), file, count=messages, env=env) as program:
        count = counted(program, file, _SECONDS)
        program.wait(_SECONDS)
    return count


def _worker(bench: Bench, shape: str, topics: list[str], partitions: int, messages: int) -> Count:
    file = bench.folder / bench.name("count")
    env = {"BENCH_PARTITIONS": str(partitions)}
    with bench.worker(shape, ",".join(topics), file, "--processes", "1", count=messages, env=env) as program:
        count = counted(program, file, _SECONDS)
        program.end()
    return count


def _backlogged(bench: Bench) -> list[Row]:
    """A backlog in all of them that a handler of a millisecond does not get through."""
    memory = Row(
        "scale", f"largest resident, all {_ALL:,} backlogged, tree", "MB", target=Target("value", "at most", 250.0)
    )
    topics = _topics(bench)
    spread(bench.brokers, topics, _EACH, bench.size(1_000_000, 500_000))
    file = bench.folder / bench.name("none")
    with bench.worker("slow-list", ",".join(topics), file, "--processes", "1") as program:
        samples = []
        end = time.monotonic() + bench.size(25, 15)
        while time.monotonic() < end:
            time.sleep(_SAMPLE_SECONDS)
            samples.append(tree_memory(program.pid).rss)
        program.end()
    memory.elsa.append(max(samples))
    bench.say(f"scale: {memory.elsa[0]:.0f} MB with a backlog in every partition")
    return [memory]


def _topics(bench: Bench) -> list[str]:
    prefix = bench.name("scale")
    return [f"{prefix}-{number:03d}" for number in range(_TOPICS)]
