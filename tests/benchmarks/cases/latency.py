"""From the call of produce() to the start of the handler, in an idle worker that gets 500 messages a second.

The tail of these times is mostly the machine's and the broker's: measured one after the other, the loop's own p99
varies thirtyfold. So the pair that is judged reads one stream side by side, as two groups, and sees the same hiccups;
each alone is measured as well.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.benchmarks.marks import JournalReader
from tests.benchmarks.measure import percentile
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import Steady, create

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_PER_SECOND = 500
#: left out: the first messages find a fetch that was begun before there were any
_WARM_UP_SECONDS = 2.0
_SHARES = {"p50": 0.5, "p99": 0.99, "largest": 1.0}


def run(bench: Bench) -> list[Row]:
    """A poll() loop against `elsa worker`, side by side and each alone."""
    targets = {"p50": Target("ratio", "at most", 2.0), "p99": Target("ratio", "at most", 1.5)}
    together = {name: Row("latency", f"{name}, side by side", "ms", target=targets.get(name)) for name in _SHARES}
    alone = {name: Row("latency", f"{name}, each alone", "ms") for name in _SHARES}
    for turn in range(bench.repeats):
        _add(together, _times(bench, "raw", "elsa"))
        bench.say(f"latency, side by side {turn + 1}: {_shown(together)}")
    for turn in range(min(bench.repeats, 3)):
        _add(alone, _times(bench, "raw") | _times(bench, "elsa"))
        bench.say(f"latency, each alone {turn + 1}: {_shown(alone)}")
    return [*together.values(), *alone.values()]


def _add(rows: dict[str, Row], times: dict[str, list[float]]) -> None:
    for name, share in _SHARES.items():
        rows[name].raw.append(percentile(times["raw"], share) * 1_000)
        rows[name].elsa.append(percentile(times["elsa"], share) * 1_000)


def _shown(rows: dict[str, Row]) -> str:
    pairs = [f"{name} raw {row.raw[-1]:.2f} Elsa {row.elsa[-1]:.2f} ms" for name, row in rows.items()]
    return ", ".join(pairs)


def _times(bench: Bench, *sides: str) -> dict[str, list[float]]:
    """Seconds of every message after the warm-up, by side."""
    topic = bench.name("latency")
    create(bench.brokers, topic)
    readers = {side: JournalReader(bench.folder / bench.name("journal")) for side in sides}
    with ExitStack() as stack:
        programs = [
            stack.enter_context((bench.raw if side == "raw" else bench.worker)("journal", topic, reader.path))
            for side, reader in readers.items()
        ]
        stream = stack.enter_context(Steady(bench.brokers, topic, per_second=_PER_SECOND))
        for reader in readers.values():
            reader.wait_until(bool, 30, "the first message is handled")
        time.sleep(_WARM_UP_SECONDS)
        first = len(stream.sent_at)
        time.sleep(bench.size(10, 3))
        stream.stop()
        sent = stream.sent_at
        for reader in readers.values():
            reader.wait_until(lambda entries: len(entries) >= len(sent), 30, "all messages are handled")
            reader.close()
        for program in programs:
            program.end()
    return {
        side: [entry.at - sent[entry.number] for entry in reader.entries if entry.number >= first]
        for side, reader in readers.items()
    }
