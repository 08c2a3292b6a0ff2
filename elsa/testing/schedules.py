"""Fires periodic tasks by the harness's clock: what the scheduler of a worker process does, over topics in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.policies.schedule import NEVER, moment
from elsa.schedules.shard import Shard

if TYPE_CHECKING:
    from elsa.app import App
    from elsa.clock import Clock
    from elsa.testing.log import MemoryLog


class MemoryScheduler:
    """All schedules of the App in one hand, from the harness's start on."""

    def __init__(self, app: App, clock: Clock, log: MemoryLog) -> None:
        self._app = app
        self._clock = clock
        self._log = log
        self._shard: Shard | None = None

    @property
    def next_due(self) -> float | None:
        """When the next call is due (monotonic), None when there is none."""
        following = self._owned().next
        if following == NEVER:
            return None
        return self._clock.monotonic() + max(0.0, following / 1000 - self._clock.now())

    def fire(self) -> bool:
        """Send what is due; whether anything was."""
        plan = self._owned().plan(moment(self._clock.now()))
        if plan is None:
            return False
        for schedule, at in plan.fires:
            self._log.append(schedule.task.topic, schedule.body, None, -1, 0, schedule.message(at))
        self._owned().settle(plan)
        return bool(plan.fires)

    def _owned(self) -> Shard:
        # at the first look: the clock may be moved before the harness is opened
        if self._shard is None:
            self._shard = Shard(list(self._app.schedules), {}, moment(self._clock.now()))
            self._shard.is_new = False
        return self._shard
