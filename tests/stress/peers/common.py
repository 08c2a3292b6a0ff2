"""What the programs of all peers do alike: note what is handled, send numbers at a pace, tell which are confirmed.

Only the standard library: it runs in the peers' virtual environment, too.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.stress.journal import DONE, Handled, Journal

if TYPE_CHECKING:
    from collections.abc import Iterator

#: so that calls are under way when a worker is killed
_SECONDS = 0.02
#: begins the lines of a sender that tell of confirmed numbers
SENT = "sent"
_journals: dict[int, Journal] = {}


def note(number: int) -> None:
    """Handle a message: take a while, then note it durably."""
    time.sleep(_SECONDS)
    pid = os.getpid()
    # a child that was forked writes to a file of its own
    if pid not in _journals:
        _journals[pid] = Journal(Path(os.environ["PEER_FOLDER"]), int(os.environ["PEER_WORKER"]))
    worker = int(os.environ["PEER_WORKER"])
    _journals[pid].write(Handled(DONE, 0, worker, pid, 0, 0, 0, number, time.monotonic()))


def numbers() -> Iterator[int]:
    """0, 1, 2, ... at the wanted pace."""
    begun, pause = time.monotonic(), 1 / float(os.environ["PEER_RATE"])
    for number in range(int(os.environ["PEER_COUNT"])):
        time.sleep(max(0.0, begun + number * pause - time.monotonic()))
        yield number


def told(number: int) -> None:
    """Kafka has this one."""
    print(SENT, number, time.monotonic(), flush=True)
