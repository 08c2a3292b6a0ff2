"""Follows what the workers of an app report to `{app}.status`, for `elsa top`; read by `survey` once a look.

The reports, not the metrics ports of the workers: one topic reaches all hosts, and is there already.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.control.protocol import SILENT_SECONDS, Status, decode
from elsa.kafka.admin import Admin
from elsa.kafka.reader import EndOfPartition, OutOfRange, Reader
from elsa.message import Message, TopicPartition
from elsa.monitor.look import Report
from elsa.names import status_topic

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.control.protocol import Tally

#: a worker that was killed is shown as silent for so long
FORGET_SECONDS = 120.0
#: what rates and percentiles are taken over
WINDOW_SECONDS = 30.0
#: how long one look waits for reports that are on their way
_READ_SECONDS = 1.0
_POLL_SECONDS = 0.05


class Reports:
    """The last report of each worker process that has not ended in order; one thread."""

    def __init__(self, settings: Settings, app: str) -> None:
        self._settings = settings
        self._place = TopicPartition(status_topic(app), 0)
        self._admin = Admin(settings)
        self._reader: Reader | None = None
        self._is_caught_up = False
        self._last: dict[str, Status] = {}
        #: by worker: (stamp, tallies) of its reports, as old as the window
        self._tallies: dict[str, deque[tuple[float, tuple[Tally, ...] | None]]] = {}

    def read(self) -> dict[str, Report] | None:
        """The last report of each worker; None when there is no such topic."""
        if self._reader is None and not self._open():
            return None
        assert self._reader is not None
        # the client goes on fetching between the looks: only the first one has to wait until it has come to the end
        wait, end = _POLL_SECONDS if self._is_caught_up else _READ_SECONDS, SYSTEM.monotonic() + _READ_SECONDS
        while (left := end - SYSTEM.monotonic()) > 0:
            items = self._reader.read(min(left, wait))
            for item in items:
                if isinstance(item, Message):
                    self._take(item)
                elif isinstance(item, OutOfRange):  # the topic was made anew
                    self.close()
                    return self._reports()
            self._is_caught_up = self._is_caught_up or any(isinstance(item, EndOfPartition) for item in items)
            if not items or self._is_caught_up:
                break
        return self._reports()

    def _reports(self) -> dict[str, Report]:
        oldest = SYSTEM.now() - FORGET_SECONDS
        for name in [name for name, tallies in self._tallies.items() if tallies[-1][0] < oldest]:
            self._forget(name)
        found = {}
        for name, status in self._last.items():
            (before, earlier), (stamp, _) = self._tallies[name][0], self._tallies[name][-1]
            found[name] = Report(stamp, status, (before, earlier or ()) if before < stamp else None)
        return found

    def _forget(self, name: str) -> None:
        self._last.pop(name, None)
        self._tallies.pop(name, None)

    def _open(self) -> bool:
        # what is read anew must not come after what is newer
        self._last.clear()
        self._tallies.clear()
        if self._place.topic not in self._admin.partition_counts():
            return False
        since = datetime.fromtimestamp(SYSTEM.now() - WINDOW_SECONDS - SILENT_SECONDS, UTC)
        offset = self._admin.offsets([self._place], since)[self._place]
        if offset < 0:
            offset = self._admin.offsets([self._place], "latest")[self._place]
        self._reader = Reader(self._settings, prefetch_kilobytes=4_096, wait_milliseconds=100)
        self._reader.assign_all({self._place: offset})
        self._is_caught_up = False
        return True

    def _take(self, message: Message) -> None:
        name = (message.key or b"").decode(errors="replace")
        found = decode(message.value)
        if isinstance(found, Status):
            before = self._last.get(name)
            if before is not None and (before.pid, before.started_at) != (found.pid, found.started_at):
                # a successor under the same name counts from 0
                self._forget(name)
            stamp = message.timestamp or SYSTEM.now()
            self._last[name] = found
            tallies = self._tallies.setdefault(name, deque())
            tallies.append((stamp, None if found.tallies is None else tuple(found.tallies)))
            while len(tallies) > 1 and tallies[0][0] < stamp - WINDOW_SECONDS:
                tallies.popleft()
        elif message.value is None:
            self._forget(name)

    def close(self) -> None:
        """End the reader; the next `read` makes another."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
