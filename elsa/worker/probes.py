"""Whether one `elsa worker` lives, is ready and has started; asked by its HTTP endpoint and by what tells systemd.

The supervisor's side: it judges its processes by their heartbeats, and adds what each says of itself. Any thread may
ask; everything is read as the supervisor's loop has left it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM
from elsa.observe.verdicts import Check, Verdict, aged
from elsa.worker.child import State
from elsa.worker.vitals import BEAT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.worker.child import Child, Place
    from elsa.worker.supervisor import Supervisor

#: a supervisor whose loop does not answer within this time is not alive
ANSWER_SECONDS = 2.0
#: a process that is not heard of for so long hangs, and one that is gone should have been replaced
SILENT_SECONDS = 3 * BEAT_SECONDS
#: loading the app may take so long
LOADING_SECONDS = 300.0

Document = dict[str, Any]


class Probes:
    """The three probes of one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def live(self) -> Verdict:
        """False when a restart is the only help; never because of Kafka, lag, or handlers that fail."""
        asked = SYSTEM.monotonic()
        answers = self._supervisor.is_answering(ANSWER_SECONDS)
        loop = Check(
            name="supervisor",
            ok=answers,
            age=SYSTEM.monotonic() - asked,
            limit=ANSWER_SECONDS,
            hint="the supervisor's loop hangs: restart the worker",
        )
        return Verdict("live", [loop.document(), *self._of_places(_is_alive, "live")])

    def ready(self) -> Verdict:
        """Whether all processes have their partitions, take messages, and reach what they need."""
        draining = Check(name="draining", ok=not self._supervisor.is_stopping, hint="the worker is stopping")
        return Verdict("ready", [draining.document(), *self._of_places(_is_ready, "ready")])

    def started(self) -> Verdict:
        """Whether all processes have loaded the app and made their clients; a spare one may own nothing."""
        return Verdict("started", list(self._of_places(_has_loaded, "startup")))

    def _of_places(self, judge: Callable[[Place, Child | None], Check | None], probe: str) -> Iterator[Document]:
        for place in list(self._supervisor.places):
            if place.is_done:
                continue
            child = place.child
            check = judge(place, child)
            if check is not None:
                yield {"process": place.index, **check.document()}
            if child is not None and child.state is not State.STOPPING:
                for said in child.checks.get(probe, ()):
                    yield {"process": place.index, **said}


def _is_alive(place: Place, child: Child | None) -> Check | None:
    now = SYSTEM.monotonic()
    if child is None and place.due_at is None and not place.failed_starts:
        # nothing is meant to run (code that can not be run is waited for), or the next one is started just now
        return None
    if child is None or (not child.is_dismissed and _is_one_of_many(place, child)):
        hint = "it dies again and again: the log says how, and when it is started next"
        return aged("process", now - place.unserved_since, SILENT_SECONDS, hint)
    if child.state is State.STOPPING:
        # the supervisor kills it when its time is over
        return None
    if not child.has_greeted:
        return aged("process", child.lived(), LOADING_SECONDS, "the import of the app hangs: kill -USR1 shows where")
    hint = f"worker process {child.pid} hangs or is stopped: kill -9 {child.pid} has it replaced"
    return aged("process", max(0.0, now - max(child.heard_at, child.ends_by)), SILENT_SECONDS, hint)


def _is_one_of_many(place: Place, child: Child) -> bool:
    """Whether its start proves nothing yet, and too much has gone wrong here to wait as long as for a first one."""
    is_late = child.started_at - place.unserved_since > SILENT_SECONDS
    return not child.has_worked and (is_late or place.failed_starts > 0)


def _is_ready(_: Place, child: Child | None) -> Check:
    now = SYSTEM.monotonic()
    is_heard = child is not None and now - child.heard_at <= SILENT_SECONDS and child.ends_by == 0.0
    return Check(
        name="process",
        ok=child is not None and child.state is State.RUNNING and is_heard,
        age=None if child is None else child.lived(),
        hint="it is not serving (yet): it starts, stops, hangs, or waits to be replaced",
    )


def _has_loaded(_: Place, child: Child | None) -> Check:
    return Check(
        name="app",
        ok=child is not None and child.has_greeted,
        age=None if child is None else child.lived(),
        hint="the process has not loaded the app: its import takes long, or fails",
    )
