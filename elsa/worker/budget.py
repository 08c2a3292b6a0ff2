"""What one worker process may hold in hand, over all its groups: messages, bytes, and a run's allowance."""

from __future__ import annotations

import threading

#: this part of the budget is kept for partitions that hold little: whoever is slow can never take all of it
_RESERVE = 0.2
#: What all partitions together may have received and not handed to their workers. Beyond it those that have
#: something waiting are paused; intake goes on below a quarter.
BUFFERED_MESSAGES = 50_000
BUFFERED_BYTES = 64 * 1024 * 1024
#: While that is so, a partition that has nothing waiting still gets one slice: of a thousand of them these many
#: messages together, and never fewer than `LEAST_SLICE` each.
SLICED_MESSAGES = 200_000
LEAST_SLICE = 20


class Budget:
    """Shared by the group managers of a process; every change is under its lock, a slice at a time.

    A partition that holds less than its share of the reserve may always take up to that; the others take what is free
    beyond the reserve. So no partition waits for another one's handler, and all together hold at most what the
    budget says. `max_messages` (of `--max-messages`) is how many may still be admitted in this run, None for no end.
    """

    def __init__(self, *, messages: int, size: int, max_messages: int | None = None) -> None:
        self._lock = threading.Lock()
        self._reserved = int(messages * _RESERVE), size * _RESERVE
        self._messages = messages
        self._size = float(size)
        self._left = max_messages
        self._in_hand = 0
        self._partitions = 0
        self._buffered = 0
        self._buffered_size = 0
        self._is_flooded = False

    def share(self, partitions: int) -> None:
        """So many partitions more (or, below 0, fewer) share the budget."""
        with self._lock:
            self._partitions += partitions

    def room(self, held: int, size: float) -> int:
        """How many messages a partition may take now that holds so many, of so many bytes."""
        with self._lock:
            share = max(1, self._partitions)
            least = max(1, self._reserved[0] // share) - held
            room = max(least, self._messages - self._reserved[0])
            if self._size <= self._reserved[1] and size > 0 and size >= self._reserved[1] / share:
                room = 0
            return max(0, room if self._left is None else min(room, self._left))

    def take(self, messages: int, size: float) -> None:
        """Messages were handed to a worker."""
        with self._lock:
            self._messages -= messages
            self._size -= size
            self._in_hand += messages
            if self._left is not None:
                self._left -= messages

    def give(self, messages: int, size: float, *, handled: bool = True) -> None:
        """Messages are finished, or were taken back unhandled (then others may be admitted for them)."""
        with self._lock:
            self._messages += messages
            self._size += size
            self._in_hand -= messages
            if self._left is not None and not handled:
                self._left += messages

    def set_aside(self, messages: int) -> None:
        """So many messages more (or, below 0, fewer) wait for another attempt: others may run meanwhile."""
        with self._lock:
            self._messages += messages

    def buffer(self, messages: int, size: int) -> None:
        """So many messages more (or, below 0, fewer) have been received and wait to be handed over."""
        with self._lock:
            self._buffered += messages
            self._buffered_size += size
            if self._buffered > BUFFERED_MESSAGES or self._buffered_size > BUFFERED_BYTES:
                self._is_flooded = True
            elif self._buffered < BUFFERED_MESSAGES // 4 and self._buffered_size < BUFFERED_BYTES // 4:
                self._is_flooded = False

    @property
    def is_flooded(self) -> bool:
        """Whether so much waits that partitions which have something waiting are to receive no more."""
        return self._is_flooded

    def slice(self, most: int) -> int:
        """How many of `most` messages to take from Kafka at once."""
        if not self._is_flooded:
            return most
        return min(most, max(LEAST_SLICE, SLICED_MESSAGES // max(1, self._partitions)))

    @property
    def is_used_up(self) -> bool:
        """Whether `max_messages` have been handled."""
        with self._lock:
            return self._left is not None and self._left <= 0 and self._in_hand <= 0
