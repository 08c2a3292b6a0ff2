"""Where the supervisor's loop waits: for worker processes' messages, signals, calls from other threads, and time.

Made by the supervisor; nothing polls, an idle supervisor sleeps.
"""

from __future__ import annotations

import selectors
import threading
from collections import deque
from typing import TYPE_CHECKING, Self

from elsa.worker.signals import Signals

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from elsa.worker.child import Child, Place


class Switchboard:
    """Owns selector and signals. `call` and `is_answering` are for any thread, the rest belongs to the main thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._signals = Signals()
        self._inbox: deque[Callable[[], None]] = deque()

    def __enter__(self) -> Self:
        self._signals.__enter__()
        self._selector.register(self._signals, selectors.EVENT_READ)
        return self

    def __exit__(self, *exc: object) -> None:
        self._selector.close()
        self._signals.__exit__(*exc)

    def call(self, function: Callable[[], None]) -> None:
        """Have the loop call `function`; also before it runs."""
        self._inbox.append(function)
        self._signals.wake()

    def is_answering(self, timeout: float) -> bool:
        """Whether the loop comes round within so many seconds; from any other thread."""
        came_round = threading.Event()
        self.call(came_round.set)
        return came_round.wait(timeout)

    def lost_its_terminal(self) -> bool:
        """Whether the terminal that this process was started in has been closed."""
        return self._signals.lost_its_terminal()

    def add(self, place: Place, child: Child) -> None:
        """Watch a new process's channel."""
        self._selector.register(child.channel, selectors.EVENT_READ, (place, child))

    def watches(self, child: Child) -> bool:
        """Whether its channel is watched."""
        return child.channel.fileno() in self._selector.get_map()

    def drop(self, child: Child) -> None:
        """Watch it no longer; harmless when it isn't."""
        if self.watches(child):
            self._selector.unregister(child.channel)

    def wait(self, seconds: float | None) -> Iterator[tuple[Place, Child]]:
        """Wait until something happens or the time is over, then give those whose channels have news."""
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if key.data[1].channel.has_pending else 0)
                if key.events != wanted:
                    self._selector.modify(key.fileobj, wanted, key.data)
        for key, events in self._selector.select(seconds):
            if key.data is not None:
                if events & selectors.EVENT_WRITE:
                    key.data[1].channel.flush()
                yield key.data

    def wishes(self) -> Iterator[signal.Signals]:
        """The signals that came; before them the calls of other threads are made."""
        signals = self._signals.take()
        while self._inbox:
            self._inbox.popleft()()
        yield from signals
