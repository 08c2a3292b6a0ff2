"""What tracing costs a handler that does nothing: without a provider as good as nothing, with the SDK what it costs.

The base is the same worker with the question cut out of its loop, so that what is compared is nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.bench import counted
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import fill

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench
    from tests.benchmarks.marks import Count

_SECONDS = 120.0
_KINDS = ("out", "none", "sdk", "ratio")
#: what is measured, and what it is measured against, by the name that apps.py knows
_PAIRS = {
    "no provider, against a loop without tracing": ("none", "out"),
    "SDK without an exporter, against no provider": ("sdk", "none"),
    "SDK that samples 1 %, against no provider": ("ratio", "none"),
}


def run(bench: Bench) -> list[Row]:
    """`elsa worker --processes 1` with an empty handler: rates, and CPU for 100,000 messages, in interleaved runs."""
    messages = bench.size(1_000_000, 50_000)
    # spans are slow, and what they cost is no matter of a percent
    sizes = {kind: messages if kind in ("out", "none") else messages // 5 for kind in _KINDS}
    topic = bench.name("tracing")
    fill(bench.brokers, topic, messages)
    # the first to read finds a cold broker
    _worker(bench, topic, messages, "out")
    rates = {what: Row("tracing", what, "messages/s") for what in _PAIRS}
    cpus = {what: Row("tracing", f"CPU per 100,000, {what}", "s") for what in _PAIRS}
    first = next(iter(_PAIRS))
    rates[first].target = Target("ratio", "at least", 0.99)
    cpus[first].target = Target("ratio", "at most", 1.01)
    for turn in range(bench.repeats):
        # whoever comes first finds another machine than whoever comes last
        order = _KINDS if turn % 2 else _KINDS[::-1]
        found = {kind: _worker(bench, topic, sizes[kind], kind) for kind in order}
        for what, (kind, base) in _PAIRS.items():
            rates[what].elsa.append(found[kind].rate)
            rates[what].raw.append(found[base].rate)
            cpus[what].elsa.append(found[kind].cpu_per_100k)
            cpus[what].raw.append(found[base].cpu_per_100k)
        said = ", ".join(f"{kind} {one.rate:,.0f}/s ({one.cpu_per_100k:.2f} s)" for kind, one in found.items())
        bench.say(f"tracing {turn + 1}: {said}")
    return [*rates.values(), *cpus.values()]


def _worker(bench: Bench, topic: str, messages: int, kind: str) -> Count:
    file = bench.folder / bench.name("count")
    env = {"BENCH_TRACING": kind}
    with bench.worker("count", topic, file, "--processes", "1", count=messages, env=env) as program:
        count = counted(program, file, _SECONDS)
        program.end()
    return count
