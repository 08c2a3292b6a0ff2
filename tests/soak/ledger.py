"""What was sent and what was handled, key by key, in files that every program of the soak has mapped.

The tables have their full size from the beginning and are touched at once, so that they do not look like growth in
the memory of whoever uses them. Numbers of a key's messages are 0, 1, 2, ...; `end` sees which comes.
"""

from __future__ import annotations

import mmap
import os
import threading
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

#: the counters of one topic, by their place in the file
FACTS = ("sent", "handled", "out_of_order", "side_by_side", "again", "given_up", "sent_on", "failed_sends")
SENT, HANDLED, OUT_OF_ORDER, SIDE_BY_SIDE, AGAIN, GIVEN_UP, SENT_ON, FAILED_SENDS = range(len(FACTS))


class Ledger:
    """The tables of one topic. One program writes `sent`, one process all the rest (its lock is of that process)."""

    def __init__(self, folder: Path, topic: str, keys: int) -> None:
        self.keys = keys
        self.sent = _table(folder / f"{topic}.sent", keys, "I")
        self._next = _table(folder / f"{topic}.next", keys, "I")
        self._runs = _table(folder / f"{topic}.runs", keys, "B")
        self.facts = _table(folder / f"{topic}.facts", len(FACTS), "q")
        self._lock = threading.Lock()

    def begin(self, key: int) -> None:
        """A call for this key begins."""
        with self._lock:
            if self._runs[key]:
                self.facts[SIDE_BY_SIDE] += 1
            self._runs[key] = 1

    def fail(self, key: int) -> None:
        """A call for this key ends in an exception."""
        self._runs[key] = 0

    def end(self, key: int, number: int) -> None:
        """The message of this number of its key is over: handled, or given up."""
        with self._lock:
            expected = self._next[key]
            if number < expected:
                self.facts[AGAIN] += 1
            else:
                if number > expected:
                    self.facts[OUT_OF_ORDER] += 1
                self._next[key] = number + 1
                self.facts[HANDLED] += 1
            self._runs[key] = 0

    def note(self, fact: int) -> None:
        """Count one of FACTS."""
        with self._lock:
            self.facts[fact] += 1

    def missing(self) -> int:
        """Messages that were sent and not handled."""
        pairs = zip(self.sent, self._next, strict=True)
        return sum(sent - done for sent, done in pairs if sent > done)

    def distinct(self) -> int:
        """Keys of which something was handled."""
        return sum(1 for done in self._next if done)


def _table(path: Path, count: int, kind: Literal["I", "B", "q"]) -> memoryview[int]:
    size = count * {"I": 4, "B": 1, "q": 8}[kind]
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
        mapped = mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
    for at in range(0, size, mmap.PAGESIZE):
        # a page belongs to a process when it has been read
        assert mapped[at] >= 0
    return memoryview(mapped).cast(kind)
