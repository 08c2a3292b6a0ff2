"""Where the logs of a group's partitions end, also of those that are not fetched now; for the lag in the metrics.

A paused partition does not fetch, so what the client knows of its end stands still, and of what waits there nothing is
in hand. The group manager says which partitions stand still, the watcher asks for the ends of all of them at once and
for the age of what waits first, and posts the answers back.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from elsa.errors import ElsaError
from elsa.kafka import heads
from elsa.message import TopicPartition
from elsa.worker.mailbox import Horizon

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.worker.assigned import Assigned
    from elsa.worker.group import GroupManager

log = logging.getLogger("elsa.worker")

#: how long a partition may stand still before its end is asked for: a full buffer mostly has room again before that
STILL_SECONDS = 1.0
#: how often that is done, for scrapes may come every few seconds; less often, to the second number, where it takes more
#: than this part of the time
ASK_SECONDS = 1.0, 15.0
_ASK_SHARE = 0.05
#: how long the messages that wait first may take to be read
HEADS_SECONDS = 3.0
_LOOK_SECONDS = 1.0


class Horizons:
    """Of one group manager, on its thread; anybody may read `still` and `empty`, which are replaced as a whole."""

    def __init__(self, manager: GroupManager) -> None:
        self._manager = manager
        self._since: dict[TopicPartition, float] = {}
        self._next_look = 0.0
        #: partitions that have not been fetched for a while
        self.still: frozenset[TopicPartition] = frozenset()
        #: those of them of which nothing is in hand, and where they go on
        self.empty: Mapping[TopicPartition, int] = {}

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
        self.empty = {
            partition: assigned.tracker.base
            for partition in self.still
            if (assigned := self._owned[partition]).in_hand == 0 and assigned.tracker.base >= 0
        }

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

    def told(self, horizon: Horizon) -> None:
        """The broker's answer."""
        for partition, end in horizon.ends.items():
            if (assigned := self._owned.get(partition)) is not None:
                assigned.told_end = max(assigned.told_end, end)
                assigned.told_head = horizon.heads.get(partition)


class Ends:
    """Asks for the ends of what stands still in all groups of a process, in one request; of the watcher's thread."""

    def __init__(self, app: App, managers: Sequence[GroupManager], clock: Clock) -> None:
        self._app = app
        self._managers = managers
        self._clock = clock
        self._due = 0.0
        #: by the manager's place among them: where partitions go on, and when that message was written
        self._heads: list[dict[TopicPartition, tuple[int, float]]] = [{} for _ in managers]

    def seconds_until_due(self) -> float:
        """How long the watcher may do nothing."""
        return max(0.0, self._due - self._clock.monotonic())

    def ask(self) -> None:
        """Ask when it is time, and there is something to ask for; while no broker answers, nothing is known."""
        if self.seconds_until_due() > 0:
            return
        began = self._clock.monotonic()
        wanted = {partition for manager in self._managers for partition in manager.horizons.still}
        if wanted:
            self._ask(wanted)
        soonest, latest = ASK_SECONDS
        took = self._clock.monotonic() - began
        self._due = began + min(latest, max(soonest, took / _ASK_SHARE))

    def _ask(self, wanted: Collection[TopicPartition]) -> None:
        try:
            ends = self._app.topics.ends(wanted)
            self._heads = [self._ask_heads(*each, ends) for each in zip(self._managers, self._heads, strict=True)]
        except ElsaError as error:
            log.debug("what waits in paused partitions is not known: %s", error)
            return
        except Exception:  # border: the watcher's thread has more to do than this
            log.exception(
                "what waits in paused partitions is not known", extra={"event": "ends_failed", "limit": "ends"}
            )
            return
        for manager, found in zip(self._managers, self._heads, strict=True):
            if mine := {partition: end for partition, end in ends.items() if partition in manager.horizons.still}:
                manager.mailbox.put(Horizon(mine, found))

    def _ask_heads(
        self,
        manager: GroupManager,
        known: Mapping[TopicPartition, tuple[int, float]],
        ends: Mapping[TopicPartition, int],
    ) -> dict[TopicPartition, tuple[int, float]]:
        """When the messages were written that wait first; each is read once."""
        waiting = {where: base for where, base in manager.horizons.empty.items() if base < ends.get(where, -1)}
        found = {where: known[where] for where, base in waiting.items() if where in known and known[where][0] == base}
        stamps = heads.timestamps(
            self._app.settings,
            {where: base for where, base in waiting.items() if where not in found},
            HEADS_SECONDS,
        )
        return found | {where: (waiting[where], stamp) for where, stamp in stamps.items() if stamp is not None}
