"""The table that Confluent's parallel-consumer (Java) publishes, in Python: 10,000 messages of 0 to 5 ms of waiting.

All lie in ONE partition, up to 100 calls run at once; ordered by partition, by 1, 5, 20 and 1,000 keys, and not at all.
Its seconds (of its README, on another machine) stand beside each row. Messages wait 0, 1, 2, 3 or 4 ms: the 22.2 s of
its row by partition are 2.2 ms for each, so that "0 to 5" cannot have meant 2.5 ms in the mean. Rows that are serial by
definition have no target: one after the other takes 20 s whoever runs them. `max_in_flight` is Elsa's default, 1,000
for a partition. Measured from the begin of the first call to the end of the last.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Self

from tests.benchmarks.bench import counted
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import spread

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_EXECUTORS = {"async": "work-async", "threads": "work-threads"}
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of their table: what they call it, ordering and keys, their seconds."""

    name: str
    ordering: str
    keys: int
    theirs: float

    def title(self, executor: str) -> str:
        return f"{self.name}, {executor} (Java {self.theirs:g})"


_SERIAL = (_Row("partition", "partition", 1, 22.2), _Row("1 key", "key", 1, 26.7))
_OTHERS = (
    _Row("5 keys", "key", 5, 5.9),
    _Row("20 keys", "key", 20, 2.24),
    _Row("1,000 keys", "key", 1_000, 2.06),
    _Row("unordered", "none", 1_000, 2.83),
)


def run(bench: Bench) -> list[Row]:
    """`elsa worker --processes 1` with a handler on the event loop, and with one in threads."""
    messages = bench.size(10_000, 2_000)
    topics = {keys: bench.name("one") for keys in (1, 5, 20, 1_000)}
    for keys, topic in topics.items():
        spread(bench.brokers, [topic], 1, messages, keys)
    return [*_serial(bench, topics, messages), *_others(bench, topics, messages), *_lasting(bench)]


def _serial(bench: Bench, topics: dict[int, str], messages: int) -> list[Row]:
    """All at the same time, once: they wait, and do not stand in each other's way."""
    rows = []
    with ExitStack() as stack:
        running = []
        for theirs, executor in product(_SERIAL, _EXECUTORS):
            row = Row("one_partition", theirs.title(executor), "s")
            worker = _Run(bench, theirs, executor, topics[theirs.keys], messages)
            running.append((row, stack.enter_context(worker)))
        for row, worker in running:
            row.elsa.append(worker.seconds())
            bench.say(f"{row.what}: {row.elsa[0]:.2f} s")
            rows.append(row)
    return rows


def _others(bench: Bench, topics: dict[int, str], messages: int) -> list[Row]:
    rows: dict[tuple[_Row, str], Row] = {}
    for turn in range(bench.size(3, 1)):
        for theirs, executor in product(_OTHERS, _EXECUTORS):
            target = None if bench.is_quick else Target("value", "at most", theirs.theirs)
            row = rows.setdefault((theirs, executor), Row("one_partition", theirs.title(executor), "s", target=target))
            with _Run(bench, theirs, executor, topics[theirs.keys], messages) as worker:
                row.elsa.append(worker.seconds())
        said = ", ".join(f"{row.what} {row.elsa[-1]:.2f} s" for row in rows.values())
        bench.say(f"one_partition {turn + 1}: {said}")
    return list(rows.values())


def _lasting(bench: Bench) -> list[Row]:
    """More than is received before the partition is paused: what a backlog is worked off with."""
    messages = bench.size(60_000, 20_000)
    topic = bench.name("one")
    spread(bench.brokers, [topic], 1, messages, 1_000)
    rows = []
    for executor, least in (("async", 15_000), ("threads", 10_000)):
        title = f"1,000 keys, {executor}, {messages:,} messages"
        rows.append(row := Row("one_partition", title, "messages/s", target=Target("value", "at least", least)))
        for _ in range(bench.size(3, 1)):
            with _Run(bench, _OTHERS[2], executor, topic, messages) as worker:
                row.elsa.append(messages / worker.seconds())
        bench.say(f"{row.what}: {', '.join(f'{rate:,.0f}/s' for rate in row.elsa)}")
    return rows


class _Run:
    """A worker, from its start to its end."""

    def __init__(self, bench: Bench, theirs: _Row, executor: str, topic: str, messages: int) -> None:
        self._file = bench.folder / bench.name("count")
        env = {"BENCH_ORDERING": theirs.ordering, "BENCH_KEYS": str(theirs.keys)}
        shape = _EXECUTORS[executor]
        self._program = bench.worker(shape, topic, self._file, "--processes", "1", count=messages, env=env)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._program.__exit__(*exc_info)

    def seconds(self) -> float:
        """From the begin of the first call to the end of the last."""
        count = counted(self._program, self._file, _SECONDS)
        self._program.end()
        return count.last - count.first
