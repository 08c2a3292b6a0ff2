"""What a worker with six empty partitions costs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks.marks import JournalReader
from tests.benchmarks.measure import tree_seconds
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import fill

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

#: starting is over, librdkafka's first metadata and statistics too
_SETTLE_SECONDS = 5.0


def run(bench: Bench) -> list[Row]:
    """A poll(0.1) loop against the whole `elsa worker --processes 1`, all its processes."""
    seconds = bench.size(20, 10)
    row = Row("idle", f"CPU over {seconds} s, whole tree", "% of a core", target=Target("value", "at most", 1.0))
    topic = bench.name("idle")
    fill(bench.brokers, topic, 60)
    for turn in range(min(bench.repeats, 3)):
        for side in ("raw", "elsa"):
            file = bench.folder / bench.name("journal")
            reader = JournalReader(file)
            start = bench.raw if side == "raw" else bench.worker
            with start("journal", topic, file) as program:
                reader.wait_until(lambda entries: len(entries) >= 60, 30, "all waiting messages are handled")
                time.sleep(_SETTLE_SECONDS)
                before, begun = tree_seconds(program.pid), time.monotonic()
                time.sleep(seconds)
                used = tree_seconds(program.pid) - before
                getattr(row, side).append(100 * used / (time.monotonic() - begun))
                program.end()
            reader.close()
        bench.say(f"idle {turn + 1}: raw {row.raw[-1]:.2f} %, Elsa {row.elsa[-1]:.2f} %")
    return [row]
