"""100,000 messages that wait for delays of all kinds and come due at 1,000 a second: how late they are, what they cost.

All of them are sent before the first is due, in random order and at 4,000 a second, so that every wait from a quarter
of a minute to over two is made of several delay topics. (Sent faster, more than a worker can move come to the end of
one delay topic together.) Late is a message by the time from its due moment to the start of its handler.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import elsa
from tests.benchmarks.marks import JournalReader
from tests.benchmarks.measure import memory, percentile, tree, tree_seconds
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import body, create

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.benchmarks.bench import Bench, Program
    from tests.benchmarks.marks import Entry

_PER_SECOND = 1_000
_SENT_PER_SECOND = 4_000
_MOST_LATE = 1.5
_SAMPLE_SECONDS = 0.5
#: after the last message: what came twice would come within that time
_AFTER_SECONDS = 3.0


class _Memory:
    """Looks from time to time at what the supervisor and its worker process keep."""

    def __init__(self, program: Program) -> None:
        self._pid = program.pid
        self._next = 0.0
        self.all = self.worker = 0.0

    def look(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _SAMPLE_SECONDS
        supervisor = memory(self._pid).rss
        worker = sum(memory(pid).rss for pid in tree(self._pid)[1:])
        self.worker = max(self.worker, worker)
        self.all = max(self.all, supervisor + worker)


def run(bench: Bench) -> list[Row]:
    """One run, without a loop to compare with: nothing that is written by hand in a few lines does this."""
    count = bench.size(100_000, 10_000)
    topic, name = bench.name("delay"), bench.name("delayed")
    reader = JournalReader(bench.folder / bench.name("journal"))
    create(bench.brokers, topic)
    with bench.worker("journal", topic, reader.path, "--processes", "1", group=name) as program:
        _send(bench, name, topic, {0: time.time() + 0.5})
        reader.wait_until(bool, 60, "the first delayed message arrives")
        kept = _Memory(program)
        due = _plan(count, time.time() + bench.size(40, 15))
        begun, used = time.monotonic(), tree_seconds(program.pid)
        _send(bench, name, topic, due)
        bench.say(f"delay: {count} messages sent in {time.monotonic() - begun:.0f} s")

        def have_come(entries: list[Entry]) -> bool:
            kept.look()
            return len(entries) > count

        reader.wait_until(have_come, count / _PER_SECOND + 300, "all delayed messages arrive")
        time.sleep(_AFTER_SECONDS)
        reader.read()
        used = tree_seconds(program.pid) - used
        program.end()
    reader.close()
    late = _lateness(reader.entries, due)
    behind = Counter(number // _PER_SECOND for number, seconds in zip(due, late, strict=True) if seconds > _MOST_LATE)
    if behind:
        bench.say(f"delay: later than {_MOST_LATE} s, by the second: {dict(sorted(behind.items()))}")
    bench.say(f"delay: p50 {percentile(late, 0.5):.2f} s, p99 {percentile(late, 0.99):.2f} s, latest {max(late):.2f} s")
    return [
        Row("delay", f"{count:,} waiting, p50 of lateness", "s", [percentile(late, 0.5)]),
        Row("delay", "p99 of lateness", "s", [percentile(late, 0.99)]),
        Row("delay", "latest", "s", [max(late)], target=Target("value", "at most", _MOST_LATE)),
        Row("delay", "earliest", "s", [min(late)], target=Target("value", "at least", 0.0)),
        Row("delay", "largest resident, worker process", "MB", [kept.worker], target=Target("value", "at most", 150)),
        Row("delay", "largest resident, all processes", "MB", [kept.all]),
        Row("delay", "CPU by message", "ms", [1_000 * used / count]),
    ]


def _plan(count: int, begin: float) -> dict[int, float]:
    """When each message is due, in random order."""
    numbers = list(range(1, count + 1))
    random.Random(1).shuffle(numbers)
    return {number: begin + number / _PER_SECOND for number in numbers}


def _send(bench: Bench, name: str, topic: str, due: Mapping[int, float]) -> None:
    """Send them all; raises AssertionError when that lasts until the first of them is due."""
    app = elsa.App(name, brokers=bench.brokers, runtime_dir=str(bench.folder / "sender"))
    try:
        begun = time.monotonic()
        for sent, (number, moment) in enumerate(due.items()):
            if (left := begun + sent / _SENT_PER_SECOND - time.monotonic()) > 0.01:
                time.sleep(left)
            eta = datetime.fromtimestamp(moment, UTC)
            app.send(topic, body(number), key=b"%d" % (number % 500), eta=eta)
        if left := app.producer.flush(60):
            raise AssertionError(f"{left} messages were not taken by the broker")
    finally:
        app.stop(5)
    if len(due) > 1 and time.time() > min(due.values()):
        raise AssertionError("sending took so long that the first messages were due before the last was sent")


def _lateness(entries: Sequence[Entry], due: Mapping[int, float]) -> list[float]:
    """Seconds of each message, in the order of `due`; raises AssertionError when one did not come, or came twice."""
    times = Counter(entry.number for entry in entries)
    if wrong := {number: times[number] for number in due if times[number] != 1}:
        raise AssertionError(f"{len(wrong)} messages did not come once, such as {dict(list(wrong.items())[:5])}")
    apart = time.time() - time.monotonic()
    came = {entry.number: entry.at + apart for entry in entries}
    return [came[number] - moment for number, moment in due.items()]
