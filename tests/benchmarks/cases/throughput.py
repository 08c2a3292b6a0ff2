"""One worker process and 200,000 waiting messages with a typed handler that does nothing: the engine's own cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.marks import Count, read_count
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import committed, fill

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.bench import Bench

_SECONDS = 120.0


def run(bench: Bench) -> list[Row]:
    """consume(1000) + json.loads + a commit per batch, against `elsa worker --processes 1`, sync and async."""
    messages = bench.size(200_000, 50_000)
    topic = bench.name("throughput")
    fill(bench.brokers, topic, messages)
    at_least, at_most = Target("ratio", "at least", 0.95), Target("ratio", "at most", 1.2)
    rate = Row("throughput", "sync handler", "messages/s", target=at_least)
    cpu = Row("throughput", "sync handler, CPU per 100,000", "s", target=at_most)
    slow_rate = Row("throughput", "async handler", "messages/s", target=Target("ratio", "at least", 0.4))
    slow_cpu = Row("throughput", "async handler, CPU per 100,000", "s")
    keys = Row(
        "throughput",
        'sync, ordering="key", concurrency=100',
        "messages/s",
        target=Target("ratio", "at least", 0.5),
    )
    keys_async = Row("throughput", 'async, ordering="key", concurrency=100', "messages/s")
    inner_rate = Row("throughput", "sync handler, App in a program", "messages/s")
    for turn in range(bench.repeats):
        raw = _raw(bench, topic, messages)
        sync = _worker(bench, topic, messages, "count")
        loop = _worker(bench, topic, messages, "count-async")
        by_key = _worker(bench, topic, messages, "count-key")
        by_key_async = _worker(bench, topic, messages, "count-key-async")
        inner = _embedded(bench, topic, messages)
        for row, count in (
            (rate, sync),
            (slow_rate, loop),
            (keys, by_key),
            (keys_async, by_key_async),
            (inner_rate, inner),
        ):
            row.raw.append(raw.rate)
            row.elsa.append(count.rate)
        for row, count in ((cpu, sync), (slow_cpu, loop)):
            row.raw.append(raw.cpu_per_100k)
            row.elsa.append(count.cpu_per_100k)
        bench.say(
            f"throughput {turn + 1}: raw {raw.rate:,.0f}/s, sync {sync.rate:,.0f}/s ({sync.cpu_per_100k:.2f} s of CPU"
            f" per 100,000, raw {raw.cpu_per_100k:.2f}), async {loop.rate:,.0f}/s, by key {by_key.rate:,.0f}/s,"
            f" by key async {by_key_async.rate:,.0f}/s, inside a program {inner.rate:,.0f}/s"
        )
    return [rate, cpu, slow_rate, slow_cpu, keys, keys_async, inner_rate]


def _raw(bench: Bench, topic: str, messages: int) -> Count:
    file = bench.folder / bench.name("count")
    with bench.raw("count", topic, file, count=messages) as program:
        program.wait(_SECONDS)
    return _checked(file)


def _worker(bench: Bench, topic: str, messages: int, shape: str) -> Count:
    file, group = bench.folder / bench.name("count"), bench.name("elsa")
    with bench.worker(shape, topic, file, "--processes", "1", count=messages, group=group) as program:
        program.wait_for(file.exists, _SECONDS, "all messages are handled")
        program.end()
    if (done := committed(bench.brokers, topic, group)) != messages:
        raise AssertionError(f"{done} of {messages} messages were committed after an orderly stop")
    return _checked(file)


def _embedded(bench: Bench, topic: str, messages: int) -> Count:
    file = bench.folder / bench.name("count")
    with bench.program("count", topic, file, count=messages) as program:
        program.wait(_SECONDS)
    return _checked(file)


def _checked(file: Path) -> Count:
    """A rate counts only when every message was handled once, in the order of its key."""
    count = read_count(file)
    if count.missing or count.out_of_order:
        raise AssertionError(f"{count.missing} messages were missing, {count.out_of_order} out of order")
    return count
