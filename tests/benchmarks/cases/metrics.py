"""What counting costs: throughput with and without metrics, and a scrape of a worker with 1,000 partitions."""

from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING

from tests.benchmarks.bench import counted, free_port
from tests.benchmarks.marks import JournalReader
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import fill, spread

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench
    from tests.benchmarks.marks import Count

_TOPICS, _EACH = 100, 10
_ALL = _TOPICS * _EACH
_SECONDS = 120.0


def run(bench: Bench) -> list[Row]:
    """The same program with and without the observer that a worker has; then the scrape."""
    return [*_counting(bench), *_scraping(bench)]


def _counting(bench: Bench) -> list[Row]:
    messages = bench.size(1_000_000, 100_000)
    topic = bench.name("metrics")
    fill(bench.brokers, topic, messages)
    # the first to read finds a cold broker
    _program(bench, topic, messages, "count", "0")
    rows = []
    for shape, what in (("count", "handler that does nothing"), ("count-key", 'the same, ordering="key"')):
        rate = Row("metrics", f"{what}, with by without", "messages/s", target=Target("ratio", "at least", 0.97))
        cpu = Row("metrics", f"{what}, CPU per 100,000, with by without", "s")
        rows += [rate, cpu]
        for turn in range(bench.repeats):
            # in turns, for the one that comes second has another machine: its caches, the broker's log
            order = ("0", "1") if turn % 2 == 0 else ("1", "0")
            found = {observed: _program(bench, topic, messages, shape, observed) for observed in order}
            without, with_ = found["0"], found["1"]
            for row, of in ((rate, "rate"), (cpu, "cpu_per_100k")):
                row.raw.append(getattr(without, of))
                row.elsa.append(getattr(with_, of))
            bench.say(f"metrics {turn + 1}: {what} {without.rate:,.0f}/s without, {with_.rate:,.0f}/s with")
    return rows


def _program(bench: Bench, topic: str, messages: int, shape: str, observed: str) -> Count:
    file = bench.folder / bench.name("count")
    with bench.program(shape, topic, file, count=messages, env={"BENCH_OBSERVED": observed}) as program:
        count = counted(program, file, _SECONDS)
        program.wait(_SECONDS)
    return count


def _scraping(bench: Bench) -> list[Row]:
    """A page with every partition, and one with sums by topic only."""
    topics = [f"{bench.name('scrape')}-{number:03d}" for number in range(_TOPICS)]
    spread(bench.brokers, topics, _EACH, _ALL)
    rows = []
    for labels, target in (("on", Target("value", "at most", 200.0)), ("off", None)):
        row = Row("metrics", f"scrape, {_ALL:,} partitions, metrics_partition_labels={labels}", "ms", target=target)
        size = Row("metrics", f"page, {_ALL:,} partitions, metrics_partition_labels={labels}", "kB")
        rows += [row, size]
        port, file = free_port(), bench.folder / bench.name("journal")
        reader = JournalReader(file)
        options = ("--processes", "1", "--metrics-port", str(port))
        env = {"ELSA_METRICS_PARTITION_LABELS": labels}
        with bench.worker("journal-list", ",".join(topics), file, *options, env=env) as program:
            reader.wait_until(lambda entries: len(entries) >= _ALL, _SECONDS, "every partition is served")
            for _ in range(bench.size(30, 10)):
                begun = time.perf_counter()
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    page = answer.read()
                row.elsa.append(1000 * (time.perf_counter() - begun))
                size.elsa.append(len(page) / 1000)
                shown = page.count(b"\nelsa_consumer_lag_messages{")
                if shown != (_ALL if labels == "on" else 0):
                    raise AssertionError(f"{shown} partitions were shown")
                time.sleep(0.2)
            program.end()
        reader.close()
        bench.say(f"metrics: a scrape took {min(row.elsa):.0f} to {max(row.elsa):.0f} ms, partition labels {labels}")
    return rows
