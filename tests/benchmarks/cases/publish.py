"""200,000 typed messages through `Handler.send` up to the last confirmation.

The raw loop produces bytes that are ready, with a delivery callback and the same linger, acks and idempotence; Elsa
encodes each message and gives it an id, a time and a Delivery.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import create

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.bench import Bench, Program


def run(bench: Bench) -> list[Row]:
    """A produce() loop against `Handler.send`."""
    messages = bench.size(200_000, 50_000)
    rate = Row("publish", "send up to flush", "messages/s", target=Target("ratio", "at least", 0.6))
    cpu = Row("publish", "CPU per 100,000", "s")
    for turn in range(bench.repeats):
        for side in ("raw", "elsa"):
            topic, file = bench.name("publish"), bench.folder / bench.name("sent")
            create(bench.brokers, topic)
            if side == "raw":
                seconds, cpu_seconds = _finished(bench.raw("publish", topic, file, count=messages), file)
            else:
                program = bench.program("publish", topic, file, "publish", count=messages)
                seconds, cpu_seconds = _finished(program, file)
            getattr(rate, side).append(messages / seconds)
            getattr(cpu, side).append(cpu_seconds / messages * 100_000)
        bench.say(f"publish {turn + 1}: raw {rate.raw[-1]:,.0f}/s, Elsa {rate.elsa[-1]:,.0f}/s")
    return [rate, cpu]


def _finished(program: Program, file: Path) -> tuple[float, float]:
    with program:
        program.wait(120)
    found = json.loads(file.read_text())
    if found["left"]:
        raise AssertionError(f"{found['left']} messages were not confirmed")
    return found["seconds"], found["cpu"]
