"""What one worker process may hold in hand, over all its groups: messages, bytes, and a run's allowance."""

from __future__ import annotations

import threading


class Budget:
    """Shared by the group managers of a process; every change is under its lock, a slice at a time.

    `max_messages` (of `--max-messages`) is how many may still be admitted in this run, None for no end.
    """

    def __init__(self, *, messages: int, size: int, max_messages: int | None = None) -> None:
        self._lock = threading.Lock()
        self._messages = messages
        self._size = float(size)
        self._left = max_messages
        self._in_hand = 0

    def room(self) -> int:
        """How many messages may be admitted now."""
        with self._lock:
            if self._size <= 0:
                return 0
            room = self._messages
            return room if self._left is None else min(room, self._left)

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

    @property
    def is_used_up(self) -> bool:
        """Whether `max_messages` have been handled."""
        with self._lock:
            return self._left is not None and self._left <= 0 and self._in_hand <= 0
