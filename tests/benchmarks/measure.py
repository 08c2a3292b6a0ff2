"""Reads CPU time, memory and the machine from /proc; used by the cases and the report."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def children(pid: int) -> list[int]:
    """The direct child processes."""
    found: list[int] = []
    try:
        for task in (_PROC / str(pid) / "task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def tree(pid: int) -> list[int]:
    """The process and everything below it."""
    return [pid, *(below for child in children(pid) for below in tree(child))]


def process_seconds(pid: int) -> float:
    """CPU seconds of one process, user and system; 0 when it is gone."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def tree_seconds(pid: int) -> float:
    """CPU seconds of the process and everything below it."""
    return sum(process_seconds(each) for each in tree(pid))


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes (10^6) of a process tree: resident, and resident with shared pages divided among their users."""

    rss: float
    pss: float


def memory(pid: int) -> Memory:
    """The memory of one process; nothing when it is gone."""
    found = {"Rss": 0, "Pss": 0}
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        lines = []
    for line in lines:
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0])
    return Memory(found["Rss"] * 1024 / 1e6, found["Pss"] * 1024 / 1e6)


def tree_memory(pid: int) -> Memory:
    """The memory of the process and everything below it."""
    each = [memory(one) for one in tree(pid)]
    return Memory(sum(one.rss for one in each), sum(one.pss for one in each))


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def machine() -> str:
    """Cores, processor, memory and present load of this machine, in one line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in (_PROC / "cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    total = int((_PROC / "meminfo").read_text().split()[1]) * 1024 / 2**30
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores ({model}), {total:.0f} GiB, Linux {platform.release()}, load {load:.1f}"


def versions() -> str:
    """Of everything that takes part, in one line."""
    from confluent_kafka import libversion

    parts = [f"{name} {version(name)}" for name in ("elsa", "confluent-kafka", "msgspec")]
    return ", ".join(
        [f"Python {sys.version.split()[0]}", *parts, f"librdkafka {libversion()[0]}", "Apache Kafka 4.4.0"]
    )
