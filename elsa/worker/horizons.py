"""Where the logs of a group's partitions end, also of those that are not fetched now; for the lag in the metrics.

A paused partition does not fetch, so what the client knows of its end stands still. The group manager says which
partitions stand still, the watcher asks for the ends of all of them at once, and posts the answer back.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from elsa.errors import ElsaError
from elsa.message import TopicPartition
from elsa.worker.mailbox import Horizon

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.worker.assigned import Assigned
    from elsa.worker.group import GroupManager

log = logging.getLogger("elsa.worker")

#: how long a partition may stand still before its end is asked for
STILL_SECONDS = 10.0
#: how often that is done
ASK_SECONDS = 15.0
_LOOK_SECONDS = 1.0


class Horizons:
    """Of one group manager, on its thread; anybody may read `still`, which is replaced as a whole."""

    def __init__(self, manager: GroupManager) -> None:
        self._manager = manager
        self._since: dict[TopicPartition, float] = {}
        self._next_look = 0.0
        #: partitions that have not been fetched for a while
        self.still: frozenset[TopicPartition] = frozenset()

    def look(self, now: float, *, is_quiet: bool) -> None:
        """See which partitions are not fetched; when nothing is taken (`is_quiet`) none is."""
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        still = [
            partition
            for partition, assigned in self._owned.items()
            if is_quiet or assigned.held is not None or assigned.is_paused or assigned.paused_at is not None
        ]
        self._since = {partition: self._since.get(partition, now) for partition in still}
        self.still = frozenset(partition for partition, since in self._since.items() if now - since > STILL_SECONDS)

    @property
    def _owned(self) -> Mapping[TopicPartition, Assigned]:
        return self._manager.assignment.owned

    def heard(self, stats: Mapping[str, Any]) -> None:
        """The client's statistics say how far committed transactions go."""
        for topic, found in stats.get("topics", {}).items():
            for number, facts in found.get("partitions", {}).items():
                assigned = self._owned.get(TopicPartition(topic, int(number)))
                if assigned is not None:
                    assigned.note_stable(int(facts.get("ls_offset", -1)), int(facts.get("hi_offset", -1)))

    def told(self, ends: Mapping[TopicPartition, int]) -> None:
        """The broker's answer."""
        for partition, end in ends.items():
            if (assigned := self._owned.get(partition)) is not None:
                assigned.told_end = max(assigned.told_end, end)


class Ends:
    """Asks for the ends of what stands still in all groups of a process, in one request; of the watcher's thread."""

    def __init__(self, app: App, managers: Sequence[GroupManager], clock: Clock) -> None:
        self._app = app
        self._managers = managers
        self._clock = clock
        self._due = 0.0

    def seconds_until_due(self) -> float:
        """How long the watcher may do nothing."""
        return max(0.0, self._due - self._clock.monotonic())

    def ask(self) -> None:
        """Ask when it is time, and there is something to ask for; while no broker answers, nothing is known."""
        if self.seconds_until_due() > 0:
            return
        wanted = {partition for manager in self._managers for partition in manager.horizons.still}
        # a partition that comes to a standstill is to be seen a moment later, not 15 s later
        self._due = self._clock.monotonic() + (ASK_SECONDS if wanted else _LOOK_SECONDS)
        if not wanted:
            return
        try:
            ends = self._app.topics.ends(wanted)
        except ElsaError as error:
            log.debug("the ends of paused partitions are not known: %s", error)
            return
        except Exception:  # border: the watcher's thread has more to do than this
            log.exception(
                "the ends of paused partitions are not known", extra={"event": "ends_failed", "limit": "ends"}
            )
            return
        for manager in self._managers:
            if mine := {partition: end for partition, end in ends.items() if partition in manager.horizons.still}:
                manager.mailbox.put(Horizon(mine))
