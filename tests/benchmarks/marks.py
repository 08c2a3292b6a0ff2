"""What a handler leaves behind when it is called: a Tally for rates, a Journal that survives `kill -9`.

Written by the workers (apps.py, rawloop.py), read by the cases.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.measure import process_seconds
from tests.benchmarks.streams import key_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ENTRY = struct.Struct("=qqqd")


@dataclass(frozen=True, slots=True)
class Count:
    """What a Tally found: seconds on the monotonic clock, CPU seconds between first and last, broken promises."""

    messages: int
    first: float
    last: float
    cpu_seconds: float
    missing: int
    out_of_order: int

    @property
    def rate(self) -> float:
        """Messages per second from the first handled to the last."""
        return self.messages / (self.last - self.first)

    @property
    def cpu_per_100k(self) -> float:
        """CPU seconds per 100,000 messages."""
        return self.cpu_seconds / self.messages * 100_000


class Tally:
    """Counts ids in the order they are handled, as cheaply as Python can; writes a Count at the last of them.

    `key` tells the key of a number, `beside` is the process whose CPU belongs to this one (the supervisor). Safe from
    any number of threads.
    """

    def __init__(
        self, expected: int, path: Path, *, key: Callable[[int], int] = key_of, beside: int | None = None
    ) -> None:
        self.done = threading.Event()
        self._expected = expected
        self._path = path
        self._key = key
        self._beside = beside
        self._seen: list[int] = []
        self._first: tuple[float, float] | None = None

    def mark(self, number: int) -> None:
        """One message is handled."""
        if self._first is None:
            self._first = self._stamp()
        seen = self._seen
        seen.append(number)
        if len(seen) == self._expected and not self.done.is_set():
            self._finish(self._stamp())

    def _stamp(self) -> tuple[float, float]:
        beside = process_seconds(self._beside) if self._beside else 0.0
        return time.monotonic(), time.process_time() + beside

    def _finish(self, last: tuple[float, float]) -> None:
        assert self._first is not None
        latest: dict[int, int] = {}
        out_of_order = 0
        # more may come meanwhile: the topic may have more than is measured
        seen = self._seen[: self._expected]
        for number in seen:
            key = self._key(number)
            out_of_order += latest.get(key, -1) > number
            latest[key] = number
        (first_at, first_cpu), (last_at, last_cpu) = self._first, last
        count = Count(
            messages=self._expected,
            first=first_at,
            last=last_at,
            cpu_seconds=last_cpu - first_cpu,
            missing=self._expected - len(set(seen)),
            out_of_order=out_of_order,
        )
        write_count(self._path, count)
        self.done.set()


class Spans:
    """Begin and end of every call; writes a Count at the last of them.

    `out_of_order` counts the messages that began before the one before them of the same key had ended. Safe from
    any number of threads. `key` tells the key of a number.
    """

    def __init__(self, expected: int, path: Path, key: Callable[[int], int], *, beside: int | None = None) -> None:
        self._expected = expected
        self._path = path
        self._key = key
        self._beside = beside
        self._spans: list[tuple[int, float, float]] = []
        self._cpu = 0.0

    def begin(self) -> float:
        """A call begins."""
        if not self._cpu:
            self._cpu = self._seconds()
        return time.monotonic()

    def end(self, number: int, begun: float) -> None:
        """A call ends."""
        spans = self._spans
        spans.append((number, begun, time.monotonic()))
        if len(spans) == self._expected:
            self._finish()

    def _seconds(self) -> float:
        return time.process_time() + (process_seconds(self._beside) if self._beside else 0.0)

    def _finish(self) -> None:
        ended: dict[int, float] = {}
        out_of_order = 0
        for number, begun, end in sorted(self._spans):
            key = self._key(number)
            out_of_order += ended.get(key, 0.0) > begun
            ended[key] = end
        count = Count(
            messages=self._expected,
            first=min(begun for _, begun, _ in self._spans),
            last=max(end for _, _, end in self._spans),
            cpu_seconds=self._seconds() - self._cpu,
            missing=self._expected - len({number for number, _, _ in self._spans}),
            out_of_order=out_of_order,
        )
        write_count(self._path, count)


def write_count(path: Path, count: Count) -> None:
    """Renamed into place: whoever sees the file sees all of it."""
    half = path.with_suffix(".half")
    half.write_text(json.dumps(asdict(count)))
    half.rename(path)


def read_count(path: Path) -> Count:
    """What the worker's Tally has written."""
    return Count(**json.loads(path.read_text()))


@dataclass(frozen=True, slots=True)
class Entry:
    """One start of a handler: the message's number, who ran it, the group's generation, the monotonic clock."""

    number: int
    pid: int
    generation: int
    at: float


class Journal:
    """A worker's end of the file: one write per message, so a killed process has left all it did."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._pid = os.getpid()

    def mark(self, number: int, generation: int = 0) -> None:
        """A handler starts on this message."""
        os.write(self._descriptor, _ENTRY.pack(number, self._pid, generation, time.monotonic()))


class JournalReader:
    """The case's end of the file; `entries` grows with each `read`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._file = path.open("rb", buffering=0)
        self._rest = b""
        self.entries: list[Entry] = []

    def read(self) -> list[Entry]:
        """What came since the last look."""
        data = self._rest + self._file.read()
        whole = len(data) - len(data) % _ENTRY.size
        self._rest = data[whole:]
        found = [Entry(*fields) for fields in _ENTRY.iter_unpack(data[:whole])]
        self.entries += found
        return found

    def wait_until(self, enough: Callable[[list[Entry]], bool], seconds: float, what: str) -> None:
        """Read until `enough(entries)`; raises TimeoutError that names `what` was waited for."""
        deadline = time.monotonic() + seconds
        while not enough(self.entries):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {seconds:g} s ({len(self.entries)} messages were handled)")
            self.read()
            time.sleep(0.005)

    def close(self) -> None:
        """Let the file go."""
        self._file.close()
