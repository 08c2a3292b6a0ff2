"""When the messages of one partition came from Kafka: noted by the group manager, asked by turns when they begin."""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

#: what came within this time counts as one: the finest bucket of waiting times is 50 ms
GRAIN_SECONDS = 0.02


class Arrivals:
    """Moments (time.perf_counter) by the last offset that came then, of messages in hand."""

    __slots__ = ("_lasts", "_lock", "_moments")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lasts: list[int] = []
        self._moments: list[float] = []

    def came(self, last: int, moment: float) -> None:
        """A slice up to this offset has come."""
        with self._lock:
            if self._moments and moment - self._moments[-1] < GRAIN_SECONDS:
                self._lasts[-1] = last
            else:
                self._lasts.append(last)
                self._moments.append(moment)

    def forget(self, base: int) -> None:
        """Everything below this offset is over."""
        lasts = self._lasts
        if lasts and lasts[0] < base:
            with self._lock:
                done = bisect_left(lasts, base)
                del lasts[:done]
                del self._moments[:done]

    def clear(self) -> None:
        """What is in hand is fetched again."""
        with self._lock:
            self._lasts.clear()
            self._moments.clear()

    def wait(self, offset: int, now: float) -> float | None:
        """How long a message has waited; None when it is not known."""
        with self._lock:
            at = bisect_left(self._lasts, offset)
            return now - self._moments[at] if at < len(self._lasts) else None

    def waits(self, raws: Sequence[Any], now: float) -> list[tuple[float, int]]:
        """How long so many of these (in their order) have waited; those that are not known are left out."""
        if not raws:
            return []
        with self._lock:
            first, last = bisect_left(self._lasts, raws[0].offset()), bisect_left(self._lasts, raws[-1].offset())
            if first == last:
                return [(now - self._moments[first], len(raws))] if first < len(self._lasts) else []
            offsets, found, begin = [raw.offset() for raw in raws], [], 0
            for at in range(first, min(last + 1, len(self._lasts))):
                end = bisect_left(offsets, self._lasts[at] + 1, begin)
                if end > begin:
                    found.append((now - self._moments[at], end - begin))
                begin = end
            return found


def without_last(waits: Sequence[tuple[float, int]], count: int) -> list[tuple[float, int]]:
    """The same without the last so many messages.

    >>> without_last([(0.5, 3), (0.2, 2)], 3)
    [(0.5, 2)]
    """
    left = list(waits)
    while left and count > 0:
        seconds, messages = left.pop()
        if messages > count:
            left.append((seconds, messages - count))
        count -= messages
    return left
