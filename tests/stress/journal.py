"""What handlers leave behind when they have handled a message: 40 bytes a call, in a file for each process.

Written by app.py with one write each, so that a record survives `kill -9`; read by the run.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LINE = struct.Struct("<BBHIIIQQd")
#: what a line tells
DONE, LOST = 1, 2


@dataclass(frozen=True, slots=True)
class Handled:
    """A worker has handled a message (`DONE`), or heard that a partition is somebody else's (`LOST`).

    `kind` is the index in KINDS, `lane` the key; `at` is in seconds of the clock that all processes share.
    """

    what: int
    kind: int
    worker: int
    pid: int
    lane: int
    partition: int
    offset: int
    number: int
    at: float

    def pack(self) -> bytes:
        return _LINE.pack(*(getattr(self, name) for name in _FIELDS))


_FIELDS = [field.name for field in fields(Handled)]


def unpack(data: bytes) -> list[Handled]:
    """The records of a file; a last one that is not whole is left out."""
    whole = len(data) - len(data) % _LINE.size
    return [Handled(*line) for line in _LINE.iter_unpack(data[:whole])]


class Journal:
    """The file of this process; any thread may write."""

    def __init__(self, folder: Path, worker: int) -> None:
        self.pid = os.getpid()
        path = folder / f"{worker}-{self.pid}.journal"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, record: Handled) -> None:
        os.write(self._descriptor, record.pack())


def read(folder: Path) -> list[Handled]:
    """Every record of every process, by time."""
    found = [record for path in folder.glob("*.journal") for record in unpack(path.read_bytes())]
    return sorted(found, key=lambda record: record.at)
