"""What the signals that end a program do to a command that has something to bring to its end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

from elsa import exits
from elsa.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SAME_SIGNAL_SECONDS = 1.0


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """INT and TERM set the event once; a second one raises KeyboardInterrupt."""
    stop = threading.Event()
    first: float | None = None

    def interrupt(*_: object) -> None:
        nonlocal first
        if first is not None and SYSTEM.monotonic() - first > _SAME_SIGNAL_SECONDS:
            raise KeyboardInterrupt
        first = SYSTEM.monotonic() if first is None else first
        stop.set()

    with _handling(interrupt):
        yield stop


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """INT and TERM raise KeyboardInterrupt once; a second one ends the program now, the keeper ends the brokers."""
    first: float | None = None

    def interrupt(*_: object) -> None:
        nonlocal first
        if first is None:
            first = SYSTEM.monotonic()
            raise KeyboardInterrupt
        # Terminal, shell and process manager may each pass on the same ctrl-C.
        if SYSTEM.monotonic() - first > _SAME_SIGNAL_SECONDS:
            os._exit(exits.FORCED)

    with _handling(interrupt):
        yield


@contextlib.contextmanager
def _handling(interrupt: Callable[..., None]) -> Iterator[None]:
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
