"""Follows what the workers of an app report to `{app}.status`, for `elsa top`; read by `survey` once a look."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.control.protocol import SILENT_SECONDS, Status, decode
from elsa.kafka.admin import Admin
from elsa.kafka.reader import EndOfPartition, OutOfRange, Reader
from elsa.message import Message, TopicPartition
from elsa.names import status_topic

if TYPE_CHECKING:
    from elsa.config import Settings

#: a worker that was killed is shown as silent for so long
FORGET_SECONDS = 120.0
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
        self._last: dict[str, tuple[float, Status]] = {}

    def read(self) -> dict[str, tuple[float, Status]] | None:
        """By worker, when its last report was stamped and what it says; None when there is no such topic."""
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
                    return dict(self._last)
            self._is_caught_up = self._is_caught_up or any(isinstance(item, EndOfPartition) for item in items)
            if not items or self._is_caught_up:
                break
        oldest = SYSTEM.now() - FORGET_SECONDS
        self._last = {name: report for name, report in self._last.items() if report[0] > oldest}
        return dict(self._last)

    def _open(self) -> bool:
        if self._place.topic not in self._admin.partition_counts():
            self._last.clear()
            return False
        since = datetime.fromtimestamp(SYSTEM.now() - 2 * SILENT_SECONDS, UTC)
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
            self._last[name] = message.timestamp or SYSTEM.now(), found
        elif message.value is None:
            self._last.pop(name, None)

    def close(self) -> None:
        """End the reader; the next `read` makes another."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
