"""From the start of the program to the first handled message of a topic that waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.marks import JournalReader
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import fill

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench


def run(bench: Bench) -> list[Row]:
    """A poll() loop against `elsa worker`."""
    row = Row("start", "process start to first message", "s", target=Target("value", "at most", 1.0))
    topic = bench.name("start")
    fill(bench.brokers, topic, 60)
    for turn in range(bench.repeats):
        for side in ("raw", "elsa"):
            file = bench.folder / bench.name("journal")
            reader = JournalReader(file)
            start = bench.raw if side == "raw" else bench.worker
            with start("journal", topic, file) as program:
                reader.wait_until(lambda entries: len(entries) >= 60, 30, "all waiting messages are handled")
                program.end()
            reader.close()
            getattr(row, side).append(reader.entries[0].at - program.started_at)
        bench.say(f"start {turn + 1}: raw {row.raw[-1]:.2f} s, Elsa {row.elsa[-1]:.2f} s")
    return [row]
