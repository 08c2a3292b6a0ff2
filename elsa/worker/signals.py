"""Turns signals and calls of other threads into wake-ups of the supervisor's loop, which alone acts on them."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import signal
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class Signals:
    """A context manager for the main thread: inside, signals are collected and `fileno()` becomes readable.

    USR1 also writes the stacks of all threads to stderr, even while the loop is stuck. `wake` may be called from any
    thread, everything else belongs to the main thread. Handlers and wake-up descriptor are put back at the end.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        self._seen: deque[signal.Signals] = deque()
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup_before = -1
        #: a terminal that was there at the start: a hang-up without it is no wish for a restart
        self._terminal = next((fd for fd in (2, 1, 0) if _is_terminal(fd)), None)

    def fileno(self) -> int:
        """For selectors."""
        return self._reader

    def wake(self) -> None:
        """Make the loop turn."""
        # full: it turns anyway; closed: there is no loop left
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._writer, b"\0")

    def take(self) -> list[signal.Signals]:
        """The signals since the last call, in order."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass
        found = []
        while self._seen:
            found.append(self._seen.popleft())
        return found

    def lost_its_terminal(self) -> bool:
        """Whether the terminal that this process was started in has been closed."""
        if self._terminal is None:
            return False
        try:
            os.tcgetpgrp(self._terminal)
        except OSError:
            return True
        return False

    def __enter__(self) -> Self:
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _HANDLED:
            self._before[number] = signal.signal(number, self._on_signal)
        # after Python's own handler, which it calls next
        with contextlib.suppress(io.UnsupportedOperation, AttributeError):  # stderr is no file
            faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True, chain=True)
        return self

    def __exit__(self, *exc: object) -> None:
        faulthandler.unregister(signal.SIGUSR1)
        for number, handler in self._before.items():
            # None: it was not installed from Python and can't be put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._reader)
        os.close(self._writer)
        self._writer = -1

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._seen.append(signal.Signals(number))


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
