"""What handlers of this process work on right now, in a file that outlives it: read by its successor in the slot.

Whoever ends a worker process from inside (`os._exit`, a fault in C code, all of its memory taken) leaves no other
trace of which message it was. The file is mapped into memory, so that a note costs one store, and the system keeps it
when the process is killed.

| bytes | content |
|---|---|
| 0-7 | `ELSAJ1` and two zeros |
| 8-15 | 1 while what runs counts, 0 since an orderly stop began |
| 64-262,143 | places, one JSON list `[group, topic, partition]` a line, up to the first zero |
| from 262,144 | cells of three 64-bit numbers: place + 1 (0: free; negative: of a former process), first offset, last |

A turn of an executor has a cell. `last` is -1 where one message runs at a time. All numbers are this machine's.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Self

from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = logging.getLogger("elsa.worker")

_MAGIC = b"ELSAJ1\0\0"
_STATE, _PLACES, _CELLS = 1, 64, 262_144
#: turns at once; what more there are is not noted
_COUNT = 65_536
_WORDS = 3
_SIZE = _CELLS + _COUNT * _WORDS * 8
#: of one place so many cells of former processes are kept
_MOST_OLD = 10_000


class Trace(NamedTuple):
    """A call that was under way when its process ended: one message, or a batch from `first` to `last`."""

    group: str
    partition: TopicPartition
    first: int
    last: int


class Journal:
    """Of one slot, held by the process that holds the slot; `note` by any thread, the rest under a lock."""

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, _SIZE)
        #: what turns write to: `words[cell + 1] = offset`
        self.words = memoryview(self._map).cast("q")
        self._lock = threading.Lock()
        self._places: dict[tuple[str, str, int], int] = {}
        self._end = _PLACES
        self._free: deque[int] = deque()
        self._fresh = 0
        #: what former processes have left, with its cells
        self._old: dict[tuple[str, TopicPartition], list[tuple[int, Trace]]] = {}

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """The journal at `path`, with what a former process has left in it; None when there can be none (logged)."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # a sparse file would end the process with SIGBUS when the disk is full
                os.posix_fallocate(descriptor, 0, _SIZE) if hasattr(os, "posix_fallocate") else os.truncate(
                    descriptor, _SIZE
                )
                journal = cls(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.warning(
                "no journal of running messages: one that kills its process again and again will not be found",
                extra={"event": "journal_unusable", "path": str(path), "error": str(error)},
            )
            return None
        journal._begin(journal._read())
        return journal

    # -- what a former process has left ------------------------------------------------------------

    def _read(self) -> list[Trace]:
        if self._map[:8] != _MAGIC:
            return []
        counts = self.words[_STATE] == 1
        lines = self._map[_PLACES:_CELLS].partition(b"\0")[0].splitlines()
        found = []
        base = _CELLS // 8
        for cell in range(base, base + _COUNT * _WORDS, _WORDS):
            place, first, last = self.words[cell], self.words[cell + 1], self.words[cell + 2]
            if place == 0 and first == 0:
                # cells are taken in order: behind this one none was ever used
                break
            if place == 0 or first < 0 or not (counts or place < 0):
                continue
            try:
                group, topic, number = json.loads(lines[abs(place) - 1])
            except (IndexError, ValueError):
                continue
            found.append(Trace(group, TopicPartition(topic, number), first, max(first, last)))
        return found[:_MOST_OLD]

    def _begin(self, traces: Sequence[Trace]) -> None:
        """Empty, but for what is still to be asked for."""
        self._map[:] = bytes(_SIZE)
        for trace in traces:
            place = self.place(trace.group, trace.partition)
            cell = self._take(-place, trace.first, trace.last) if place else 0
            if cell:
                self._old.setdefault((trace.group, trace.partition), []).append((cell, trace))
        self.words[_STATE] = 1
        self._map[:8] = _MAGIC

    def traces(self, group: str, partition: TopicPartition) -> list[Trace]:
        """What ran of a partition when former processes ended; each is one death, until `forget`."""
        with self._lock:
            return [trace for _, trace in self._old.get((group, partition), ())]

    def forget(self, group: str, partition: TopicPartition) -> None:
        """The deaths are counted elsewhere by now."""
        with self._lock:
            for cell, _ in self._old.pop((group, partition), ()):
                self._release(cell)

    # -- what runs -----------------------------------------------------------------------------------

    def place(self, group: str, partition: TopicPartition) -> int:
        """The number of a place, for `enter`; 0 when there is no room for more."""
        key = (group, *partition)
        with self._lock:
            found = self._places.get(key)
            if found is None:
                line = json.dumps(key).encode() + b"\n"
                if self._end + len(line) >= _CELLS:
                    return 0
                self._map[self._end : self._end + len(line)] = line
                self._end += len(line)
                found = self._places[key] = len(self._places) + 1
            return found

    def enter(self, place: int, first: int = -1, last: int = -1) -> int:
        """A turn begins: its cell; 0 when there is none left. A batch says which offsets it has."""
        with self._lock:
            return self._take(place, first, last)

    def leave(self, cell: int) -> None:
        """The turn is over."""
        with self._lock:
            self._release(cell)

    def _take(self, place: int, first: int, last: int) -> int:
        if self._free:
            cell = self._free.pop()
        elif self._fresh < _COUNT:
            cell = _CELLS // 8 + self._fresh * _WORDS
            self._fresh += 1
        else:
            return 0
        # the place comes last: half a cell must not be taken for a whole one
        self.words[cell + 1] = first
        self.words[cell + 2] = last
        self.words[cell] = place
        return cell

    def _release(self, cell: int) -> None:
        self.words[cell] = 0
        self.words[cell + 1] = -1
        self._free.append(cell)

    def disarm(self) -> None:
        """An orderly end begins: what it cuts off is nobody's fault."""
        self.words[_STATE] = 0

    # It is never unmapped: a thread that nobody can interrupt may still write to it.
