"""The HTTP endpoint of a supervisor: its processes' metrics as one page, probes and status.

`elsa worker` imports and starts it when the processes are on their way, so that it costs their start nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from elsa.clock import SYSTEM
from elsa.observe import catalogue
from elsa.observe.http import MetricsServer
from elsa.observe.merge import Merger, unpack

if TYPE_CHECKING:
    from elsa.worker.supervisor import Supervisor

#: a process that is later than this is shown with its last values
SCRAPE_SECONDS = 0.3
#: a supervisor whose loop does not answer within this time is not alive
LIVE_SECONDS = 2.0


class Endpoint:
    """Serves one supervisor from `start` to `stop`; its loop calls `update`, `ended` and `restarted`.

    Raises ConfigError where it can't listen.
    """

    def __init__(self, supervisor: Supervisor, *, host: str, port: int) -> None:
        self._supervisor = supervisor
        self._merger = Merger()
        self._server = MetricsServer(
            self._page,
            host,
            port,
            status=self._status,
            ready=lambda: supervisor.is_ready,
            live=self._is_live,
            render_openmetrics=lambda: self._page(openmetrics=True),
        )

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return self._server.url

    def start(self) -> Self:
        """Listen; what was counted before is taken over."""
        self._server.start()
        for reason, count in self._supervisor.restarts.items():
            self._merger.add(catalogue.PROCESS_RESTARTS.name, count, reason=reason)
        self._supervisor.telemetry = self
        return self

    def stop(self) -> None:
        """Stop listening; idempotent."""
        self._supervisor.telemetry = None
        self._server.stop()

    def update(self, index: int, packed: str) -> None:
        """A process has sent its values."""
        self._merger.update(index, unpack(packed))

    def ended(self, index: int) -> None:
        """A process has ended."""
        self._merger.end(index)

    def restarted(self, reason: str) -> None:
        """A process is replaced."""
        self._merger.add(catalogue.PROCESS_RESTARTS.name, reason=reason)

    def _page(self, *, openmetrics: bool = False) -> bytes:
        asked_at = SYSTEM.monotonic()
        self._supervisor.questions.ask("scrape", SCRAPE_SECONDS)
        states = Counter(
            str(child.state) for place in list(self._supervisor.places) if (child := place.child) is not None
        )
        for state in catalogue.PROCESS_STATES:
            self._merger.set(catalogue.PROCESSES.name, states[state], state=state)
        return self._merger.render(openmetrics=openmetrics, since=asked_at)

    def _status(self) -> dict[str, Any]:
        answers = self._supervisor.questions.ask("status", SCRAPE_SECONDS)
        return {
            "processes": [
                {
                    "index": place.index,
                    "pid": child.pid,
                    "state": child.state,
                    "slot": place.slot,
                    "generation": place.generation,
                    "age_seconds": round(child.lived(), 1),
                    "status": answers.get(place.index),
                }
                for place in list(self._supervisor.places)
                if (child := place.child) is not None
            ],
            "restarts": dict(self._supervisor.restarts),
            "stopping": self._supervisor.is_stopping,
        }

    def _is_live(self) -> bool:
        return self._supervisor.is_answering(LIVE_SECONDS)
