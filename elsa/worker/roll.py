"""A rolling restart (HUP): renews the worker processes one by one, so that a bad deploy costs one of them.

Made and advanced by the supervisor's loop.
"""

from __future__ import annotations

from collections import deque
from logging import ERROR, INFO, WARNING
from typing import TYPE_CHECKING, Literal

from elsa.clock import SYSTEM
from elsa.worker.child import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from elsa.worker.child import Child, Place

Verdict = Literal["waiting", "renewed", "late", "failed"]


class Roll:
    """The places that are still to be renewed, and the one whose turn it is."""

    def __init__(self, places: Iterable[Place], *, ready_timeout: float) -> None:
        # A roll that takes the place of another one begins where that one was: at most one place is without a process.
        self._left = deque(sorted(places, key=_is_serving))
        self._ready_timeout = ready_timeout
        self._place: Place | None = None
        self._old: Child | None = None
        self._new: Child | None = None
        self._deadline = 0.0

    @property
    def due_at(self) -> float | None:
        """When the successor should have been ready, None while none is waited for."""
        return self._deadline if self._new is not None else None

    def replaces(self, place: Place, child: Child) -> bool:
        """Whether this process was asked to end so that a successor takes its place."""
        return self._place is place and self._old is child

    def tries(self, child: Child) -> bool:
        """Whether this is a successor that has not proved itself yet: its failure ends the roll, nothing else."""
        return self._new is child

    def succeeded_by(self, place: Place) -> None:
        """The place's new process has been started."""
        self._old, self._new = None, place.child
        self._deadline = SYSTEM.monotonic() + self._ready_timeout

    def advance(
        self, *, stop: Callable[[Child], None], spawn: Callable[[Place], None], tell: Callable[..., None]
    ) -> bool:
        """Judge the place in hand and go on with the next when it is renewed; False when the roll is over."""
        if self._place is not None:
            verdict = self._verdict(self._place)
            if verdict == "failed":
                text = "the restart was stopped: the new worker process failed, the others were kept as they are"
                tell("roll_failed", ERROR, text, worker=self._place.index)
                return False
            if verdict == "late":
                text = "the new worker process is not ready yet, going on with the next"
                tell("roll_late", WARNING, text, worker=self._place.index, seconds=self._ready_timeout)
            if verdict != "waiting":
                self._place = self._old = self._new = None
        while self._place is None and self._left:
            self._begin(self._left.popleft(), stop, spawn)
        if self._place is None:
            tell("rolled", INFO, "all worker processes were restarted")
        return self._place is not None

    def _begin(self, place: Place, stop: Callable[[Child], None], spawn: Callable[[Place], None]) -> None:
        """End the process of this place, or start one where none runs."""
        if place.is_done:
            return
        self._place = place
        if place.child is None:
            spawn(place)
            self.succeeded_by(place)
        else:
            self._old = place.child
            stop(place.child)

    def will_renew(self, place: Place) -> bool:
        """Whether this place's turn is still to come."""
        return place in self._left

    def _verdict(self, place: Place) -> Verdict:
        if place.is_done:  # it finished its work instead of being renewed
            return "renewed"
        if self._old is not None:
            return "waiting"
        if self._new is None or place.child is not self._new:
            return "failed"
        if self._new.state is State.RUNNING:
            return "renewed"
        return "late" if SYSTEM.monotonic() >= self._deadline else "waiting"


def _is_serving(place: Place) -> bool:
    return place.child is not None and place.child.state is State.RUNNING
