"""The HTTP endpoint of a supervisor: its processes' metrics as one page, probes and status.

`elsa worker` imports and starts it when the processes are on their way, so that it costs their start nothing.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from elsa.clock import SYSTEM
from elsa.observe import catalogue
from elsa.observe.http import MetricsServer
from elsa.observe.merge import Merger, unpack
from elsa.worker.probes import Probes
from elsa.worker.status import versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from elsa.observe.guard import Guard
    from elsa.worker.supervisor import Supervisor

#: a process that is later than this is shown with its last values
SCRAPE_SECONDS = 0.3


class Endpoint:
    """Serves one supervisor from `start` to `stop`; its loop calls `update`, `ended` and `restarted`.

    Raises ConfigError where it can't listen, or may not.
    """

    def __init__(self, supervisor: Supervisor, *, host: str, port: int, guard: Guard | None = None) -> None:
        self._supervisor = supervisor
        self._merger = Merger()
        self._probes = Probes(supervisor)
        self._server = MetricsServer(
            self._page,
            host,
            port,
            status=self._status,
            probes={"/livez": self._probes.live, "/readyz": self._probes.ready, "/startupz": self._probes.started},
            render_openmetrics=lambda: self._page(openmetrics=True),
            guard=guard,
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
        answers = self._supervisor.questions.ask("scrape", SCRAPE_SECONDS)
        children = {place.index: child for place in list(self._supervisor.places) if (child := place.child) is not None}
        states = Counter(str(child.state) for child in children.values())
        # before its greeting a process is not asked
        late = sum(1 for index, child in children.items() if child.has_greeted and index not in answers)
        for state in catalogue.PROCESS_STATES:
            self._merger.set(catalogue.PROCESSES.name, states[state], state=state)
        return self._merger.render(openmetrics=openmetrics, stale=late)

    def _status(self) -> dict[str, Any]:
        supervisor = self._supervisor
        answers = supervisor.questions.ask("status", SCRAPE_SECONDS)
        verdicts = (self._probes.live(), self._probes.ready(), self._probes.started())
        return {
            # the supervisor has no Kafka client
            "versions": next((each["versions"] for each in answers.values() if "versions" in each), versions()),
            "uptime_seconds": round(SYSTEM.monotonic() - supervisor.started_at, 1),
            **{verdict.name: verdict.ok for verdict in verdicts},
            "groups": groups(answers.values()),
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
                for place in list(supervisor.places)
                if (child := place.child) is not None
            ],
            "checks": {verdict.name: list(verdict.checks) for verdict in verdicts},
            "restarts": dict(supervisor.restarts),
            "stopping": supervisor.is_stopping,
        }


def groups(statuses: Iterable[Mapping[str, Any] | None]) -> dict[str, dict[str, int]]:
    """By group: how many partitions these processes have, and their lag as far as it is known.

    >>> groups([{"groups": ["billing"], "partitions": [{"group": "billing", "lag": 3}, {"group": None, "lag": 9}]}])
    {'billing': {'partitions': 1, 'lag': 3}}
    """
    known = [status for status in statuses if status is not None]
    found = {
        name: {"partitions": 0, "lag": 0}
        for name in sorted(set(itertools.chain.from_iterable(status.get("groups", ()) for status in known)))
    }
    for each in itertools.chain.from_iterable(status.get("partitions", ()) for status in known):
        if each["group"] in found:
            found[each["group"]]["partitions"] += 1
            found[each["group"]]["lag"] += each["lag"] or 0
    return found
