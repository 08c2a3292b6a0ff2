"""Looks at groups again and again and shows what it has seen over HTTP: the work of `elsa monitor`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from elsa.clock import SYSTEM
from elsa.errors import ElsaError, NotStarted, name_of
from elsa.monitor.documents import group_document
from elsa.monitor.grades import Grades
from elsa.monitor.page import add_groups, add_health
from elsa.monitor.scout import LOOK_SECONDS
from elsa.monitor.verdicts import live, ready
from elsa.observe.exposition import Page, from_prometheus, render
from elsa.observe.instruments import Counts
from elsa.observe.registry import process_registry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from threading import Event

    from elsa.clock import Clock
    from elsa.monitor.grades import Grade, Key
    from elsa.monitor.look import GroupState, Look, Request
    from elsa.observe.verdicts import Verdict

#: how long what was seen last is shown while nothing can be seen; at least, or three intervals
STALE_SECONDS = 60.0

_log = logging.getLogger("elsa.monitor")


class Looking(Protocol):
    """What the monitor looks through: a Scout."""

    def look(self, request: Request) -> Look:
        """One look; raises ElsaError."""
        ...


@dataclass(frozen=True, slots=True)
class _Seen:
    """A group, and when that was (monotonic)."""

    group: GroupState
    at: float


class Watch:
    """`run` belongs to one thread; the others read what it has put down, under the lock."""

    def __init__(
        self, scout: Looking, request: Request, *, interval: float, window: float, clock: Clock = SYSTEM
    ) -> None:
        self._scout = scout
        self._request = request
        self._interval = interval
        self._clock = clock
        self._stale_seconds = max(STALE_SECONDS, 3 * interval)
        self._history = Grades(window)
        self._lock = Lock()
        self._seen: dict[str, _Seen] = {}
        self._grades: Mapping[Key, Grade] = {}
        self._is_up = False
        #: why the last look failed
        self._trouble = ""
        self._succeeded_at: float | None = None
        self._succeeded: float | None = None
        self._look_seconds: float | None = None
        self._errors = Counts()
        #: the failures that were logged and have not ended
        self._told: set[tuple[str, str]] = set()
        #: when the loop last came round
        self._turned = clock.monotonic()

    def run(self, stop: Event) -> None:
        """Look every interval until it is to stop."""
        while not stop.is_set():
            began = self._turned = self._clock.monotonic()
            self.turn()
            stop.wait(max(0.0, self._interval - (self._clock.monotonic() - began)))

    def turn(self) -> None:
        """One look."""
        try:
            look = self._scout.look(self._request)
        except NotStarted:
            return  # closed under the look by who stops it: nothing failed
        except ElsaError as error:
            self._fail(error)
        else:
            self._take(look)

    def _fail(self, error: ElsaError) -> None:
        code, why = name_of(error), str(error).partition("\n")[0]
        with self._lock:
            self._is_up, self._trouble = False, why
            self._errors.add(code)
        self._tell({("cluster", code): why})

    def _take(self, look: Look) -> None:
        now = self._clock.monotonic()
        failed = {failure.name for failure in look.failures if failure.what == "group"}
        # a broker that did not answer has groups that are not in the list
        is_partial = any(failure.what == "cluster" for failure in look.failures)
        found = {group.name: _Seen(group, now) for group in look.groups}
        with self._lock:
            kept = {name: seen for name, seen in self._seen.items() if is_partial or name in failed}
            self._seen = kept | found
            self._grades = self._history.take(now, look.groups, kept.keys() - found.keys())
            self._is_up, self._trouble, self._succeeded, self._succeeded_at = True, "", now, look.at
            self._look_seconds = look.seconds
            for failure in look.failures:
                self._errors.add(failure.code)
        self._tell(
            {(f"{failure.what} {failure.name}".strip(), failure.code): failure.text for failure in look.failures}
        )

    def _tell(self, failures: Mapping[tuple[str, str], str]) -> None:
        """Log what has begun to fail, and that it has ended: not every time that it lasts."""
        for key in failures.keys() - self._told:
            _log.warning(
                "groups can not be seen in full: %s",
                failures[key],
                extra={"event": "look_failed", "what": key[0], "code": key[1]},
            )
        if self._told and not failures:
            _log.info("groups can be seen again", extra={"event": "look_healed"})
        self._told = set(failures)

    # -- for the HTTP server's threads -----------------------------------------------------------------

    def live(self) -> Verdict:
        """Whether the loop comes round."""
        return live(self._clock.monotonic() - self._turned, self._interval + 2 * LOOK_SECONDS + STALE_SECONDS)

    def ready(self) -> Verdict:
        """Whether what is shown is fresh, and why not."""
        with self._lock:
            age = None if self._succeeded is None else self._clock.monotonic() - self._succeeded
            return ready(age, self._stale_seconds, self._trouble)

    def _is_fresh(self, moment: float) -> bool:
        return self._clock.monotonic() - moment <= self._stale_seconds

    def page(self, *, openmetrics: bool = False) -> bytes:
        """The metrics; a group that has not been seen for a while has no series."""
        page = Page()
        with self._lock:
            add_groups(page, self._shown(), self._grades)
            add_health(
                page,
                is_up=self._is_up,
                succeeded_at=self._succeeded_at,
                look_seconds=self._look_seconds,
                errors=self._errors.values,
            )
        return render([*page.families(), *from_prometheus(process_registry().collect())], openmetrics=openmetrics)

    def _shown(self) -> list[GroupState]:
        return [seen.group for _, seen in sorted(self._seen.items()) if self._is_fresh(seen.at)]

    def status(self) -> dict[str, Any]:
        """For `/statusz`: whether looks succeed, and the groups with their partitions and grades."""
        with self._lock:
            return {
                "up": self._is_up,
                "last_success": self._succeeded_at,
                "errors": dict(self._errors.values),
                "groups": [group_document(group, self._grades) for group in self._shown()],
            }
