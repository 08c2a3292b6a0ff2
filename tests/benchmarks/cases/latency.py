"""From the call of produce() to the start of the handler, in an idle worker that gets 500 messages a second.

The tail of these times is mostly the machine's and the broker's: measured one after the other, the loop's own p99
varies thirtyfold. So those that are judged read one stream side by side, as three groups (the loop, a handler by
partition, one by key), and see the same hiccups; each alone is measured as well.
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
    from pathlib import Path

    from tests.benchmarks.bench import Bench, Program

_PER_SECOND = 500
#: left out: the first messages find a fetch that was begun before there were any
_WARM_UP_SECONDS = 2.0
_SHARES = {"p50": 0.5, "p99": 0.99, "largest": 1.0}
#: shapes of handlers, and what is added to the names of their rows
_KINDS = {"journal": "", "journal-key": " by key"}


def run(bench: Bench) -> list[Row]:
    """A poll() loop against `elsa worker`, side by side and each alone."""
    together = {kind: _rows(name, "side by side", is_judged=True) for kind, name in _KINDS.items()}
    alone = {kind: _rows(name, "each alone", is_judged=False) for kind, name in _KINDS.items()}
    for turn in range(bench.repeats):
        _add(together, _times(bench, "raw", *_KINDS))
        bench.say(f"latency, side by side {turn + 1}: {_shown(together)}")
    for turn in range(min(bench.repeats, 2)):
        times = _times(bench, "raw")
        for kind in _KINDS:
            times |= _times(bench, kind)
        _add(alone, times)
        bench.say(f"latency, each alone {turn + 1}: {_shown(alone)}")
    return [row for kinds in (together, alone) for rows in kinds.values() for row in rows.values()]


def _rows(name: str, how: str, *, is_judged: bool) -> dict[str, Row]:
    targets = {"p50": Target("ratio", "at most", 2.0), "p99": Target("ratio", "at most", 1.5)} if is_judged else {}
    return {share: Row("latency", f"{share}{name}, {how}", "ms", target=targets.get(share)) for share in _SHARES}


def _add(kinds: dict[str, dict[str, Row]], times: dict[str, list[float]]) -> None:
    for kind, rows in kinds.items():
        for name, share in _SHARES.items():
            rows[name].raw.append(percentile(times["raw"], share) * 1_000)
            rows[name].elsa.append(percentile(times[kind], share) * 1_000)


def _shown(kinds: dict[str, dict[str, Row]]) -> str:
    first = next(iter(kinds.values()))
    parts = []
    for name in _SHARES:
        found = ", ".join(f"{kind} {rows[name].elsa[-1]:.2f}" for kind, rows in kinds.items())
        parts.append(f"{name} raw {first[name].raw[-1]:.2f}, {found} ms")
    return "; ".join(parts)


def _times(bench: Bench, *sides: str) -> dict[str, list[float]]:
    """Seconds of every message after the warm-up, by side."""
    topic = bench.name("latency")
    create(bench.brokers, topic)
    readers = {side: JournalReader(bench.folder / bench.name("journal")) for side in sides}
    with ExitStack() as stack:
        programs = [stack.enter_context(_start(bench, side, topic, reader.path)) for side, reader in readers.items()]
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


def _start(bench: Bench, side: str, topic: str, file: Path) -> Program:
    return bench.raw("journal", topic, file) if side == "raw" else bench.worker(side, topic, file)
