"""`make bench`: measures Elsa against hand-written loops in one run and holds the results to their targets."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path

from elsa.broker import EmbeddedKafka
from tests.benchmarks import measure, streams
from tests.benchmarks.bench import Bench
from tests.benchmarks.report import Row, table

CASES = (
    "throughput",
    "io",
    "one_partition",
    "cpu",
    "publish",
    "latency",
    "start",
    "idle",
    "memory",
    "scale",
    "recovery",
    "delay",
    "metrics",
    "monitor",
    "tracing",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the cases; 0 when every target was reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--case", action="append", choices=CASES, help="only this one (may be repeated)")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of raw loop and Elsa, at least 3 (5)")
    parser.add_argument("--quick", action="store_true", help="small sizes, 3 repetitions: a rough look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single value there")
    options = parser.parse_args(arguments)
    if options.repeats < 3:
        parser.error("a median needs at least 3 repetitions")
    say(measure.machine())
    say(measure.versions())
    rows: list[Row] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="elsa-bench-") as folder, EmbeddedKafka(ephemeral=True) as kafka:
        repeats = 3 if options.quick else options.repeats
        bench = Bench(kafka.bootstrap, Path(folder), repeats, options.quick, say)
        warm_up(kafka.bootstrap)
        for name in options.case or CASES:
            begun = time.monotonic()
            try:
                rows += import_module(f"tests.benchmarks.cases.{name}").run(bench)
            except Exception:
                # one broken case must not cost the figures of the others
                failed.append(name)
                say(f"{name} failed:\n{traceback.format_exc()}")
            say(f"{name}: {time.monotonic() - begun:.0f} s")
    if options.json:
        facts = {"machine": measure.machine(), "versions": measure.versions(), "failed": failed}
        options.json.write_text(json.dumps({**facts, "rows": [row.as_json() for row in rows]}, indent=1))
    print(f"\nMedians of {repeats} interleaved pairs (smallest-largest)\n\n{table(rows)}\n")
    missed = [f"{row.case}: {row.what}" for row in rows if row.verdict is False]
    for what in (*missed, *failed):
        print(f"missed: {what}" if what in missed else f"failed: {what}", file=sys.stderr)
    return 1 if missed or failed else 0


def warm_up(brokers: str) -> None:
    """The first group and the first idempotent producer of a broker's life wait until it has made their topics."""
    streams.fill(brokers, "warm-up", 1_000)
    streams.committed(brokers, "warm-up", "warm-up")


def say(text: str) -> None:
    """Tell how far it is, beside the table."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
