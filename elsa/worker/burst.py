"""When a run ends by itself: everything is handled (`--burst`), or so many messages are (`--max-messages`).

`has_caught_up` is asked by each group manager about what it owns; `Ender` is a thread of the process that looks at all
of them, and asks the group whether others have work left.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from elsa.errors import ElsaError
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.worker.budget import Budget
    from elsa.worker.group import GroupManager
    from elsa.worker.runtime import Runtime

#: how often the end is looked for
_END_SECONDS = 0.05
#: how often the group is asked whether others have work left
_GROUP_SECONDS = 0.3


def has_caught_up(manager: GroupManager) -> bool:
    """Whether nothing is left in the partitions that a group manager owns; on its thread."""
    if not manager.is_ready or manager.assignment.ending or manager.membership.wants_rejoin:
        return False
    return all(
        a.held in ("rejected", "halted")
        or (
            a.end is not None
            and a.in_hand == 0
            and a.tracker.base >= a.end
            and (manager.group is None or a.committed >= a.tracker.base)
        )
        for a in manager.assignment.owned.values()
    )


class Ender:
    """Looks for the end from `start` until it has told `over` why, or until `ended` is set by somebody else."""

    def __init__(
        self,
        runtime: Runtime,
        budget: Budget,
        ended: threading.Event,
        over: Callable[[str], None],
        *,
        is_burst: bool,
        has_limit: bool,
    ) -> None:
        self._runtime = runtime
        self._budget = budget
        self._ended = ended
        self._over = over
        self._is_burst = is_burst
        self._has_limit = has_limit
        self._thread = threading.Thread(target=self._main, name="elsa-ender", daemon=True)

    def start(self) -> None:
        """Begin to look, when the group managers have been started."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait until nobody looks any more; may be called by the thread itself."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _main(self) -> None:
        pause = _END_SECONDS
        while not self._ended.wait(pause):
            pause = _END_SECONDS
            managers = self._runtime.managers
            if self._has_limit and self._budget.is_used_up:
                self._over("max_messages")
            elif self._is_burst and all(manager.is_caught_up for manager in managers):
                if all(self._is_group_caught_up(manager) for manager in managers):
                    self._over("burst")
                else:
                    pause = _GROUP_SECONDS

    def _is_group_caught_up(self, manager: GroupManager) -> bool:
        """Whether nothing is left for anybody: partitions on their way from one member to another are nobody's."""
        if manager.group is None:
            return True
        topics = self._runtime.topics(0)
        wanted = {TopicPartition(t, n) for t in manager.membership.subscribed for n in range(topics.get(t, 0))}
        wanted -= {p for p, a in list(manager.assignment.owned.items()) if a.held is not None}
        try:
            rows = self._runtime.app.groups.lag(manager.group)
        except ElsaError:
            # the coordinator moves, or is away: then nobody knows
            return False
        behind = {TopicPartition(row.topic, row.partition): row.lag for row in rows}
        return all(behind.get(partition) == 0 for partition in wanted)
