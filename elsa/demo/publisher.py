"""Publishes the flights at a given rate in a thread of its own; started and stopped by `elsa.demo.run`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from elsa.clock import Clock
    from elsa.demo.dataset import Flight

#: the shortest pause worth a wait: flights in between leave together
_PAUSE_SECONDS = 0.02


class Publisher(threading.Thread):
    """Sends flights until there are no more or `stop` is called.

    `send(flight)` returns a Delivery. `rate` is flights a second, None for as fast as Kafka takes them. The
    thread itself writes `sent`, the producer's thread `confirmed` and `error`; anybody reads them.
    """

    def __init__(
        self,
        flights: Iterable[Flight],
        send: Callable[[Flight], Any],
        *,
        rate: float | None,
        on_end: Callable[[], object] = lambda: None,
        clock: Clock = SYSTEM,
        stopped: threading.Event | None = None,
    ) -> None:
        super().__init__(name="elsa-demo-publisher", daemon=True)
        self._flights = flights
        self._send = send
        self._rate = rate
        self._on_end = on_end
        self._clock = clock
        self._stopped = stopped or threading.Event()
        self.sent = 0
        self.confirmed = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            started = self._clock.monotonic()
            for flight in self._flights:
                if self._stopped.is_set() or not self._keep_pace(started):
                    return
                self._send(flight).add_done_callback(self._settled)
                self.sent += 1
        except BaseException as error:  # the thread's border: whoever watches the demo reports it
            self.error = self.error or error
        finally:
            self._on_end()

    def stop(self, timeout: float) -> None:
        """Publish nothing more; idempotent, safe before start."""
        self._stopped.set()
        if self.is_alive():
            self.join(timeout)

    def _keep_pace(self, started: float) -> bool:
        """Wait until the next flight is due; False when the publisher was stopped meanwhile."""
        if self._rate is None:
            return True
        early = self.sent / self._rate - (self._clock.monotonic() - started)
        return early <= 0 or not self._stopped.wait(max(early, _PAUSE_SECONDS))

    def _settled(self, delivery: Any) -> None:
        failure = delivery.exception(0)
        if failure is None:
            self.confirmed += 1
        else:
            self.error = self.error or failure
            self._stopped.set()
