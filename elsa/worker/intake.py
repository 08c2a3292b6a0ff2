"""What a poll brings, given to the partitions it is for: messages, ends, offsets out of range; called by the manager.

Also says which partitions bring nothing for a while. Everything here runs on the group manager's thread.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from elsa.errors import FatalClientError
from elsa.kafka.events import Event, classify
from elsa.message import TopicPartition
from elsa.worker import starts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elsa.worker.assigned import Assigned
    from elsa.worker.group import GroupManager

log = logging.getLogger("elsa.worker")


class Intake:
    """Of one group manager."""

    def __init__(self, manager: GroupManager) -> None:
        self._manager = manager
        #: whether something has come that would have to be kept until the next `steer`
        self.is_flooding = False

    def route(self, raws: Sequence[Any]) -> None:
        """Give each partition its part of what was polled; events after the messages before them."""
        slices: dict[tuple[str, int], list[Any]] = {}
        events = []
        for raw in raws:
            if raw.error() is not None:
                events.append(raw)
                continue
            key = (raw.topic(), raw.partition())
            part = slices.get(key)
            if part is None:
                slices[key] = [raw]
            else:
                part.append(raw)
        owned = self._manager.assignment.owned
        for key, part in slices.items():
            assigned = owned.get(key)  # type: ignore[call-overload]  # a TopicPartition is such a tuple
            if assigned is not None and assigned.held is None:
                if part[0].offset() <= self._last(assigned):
                    self._rewound(assigned, part[0].offset())
                self._manager.assignment.receive(assigned, part)
                if assigned.paused_at is None and self._manager.assignment.wants_pause(assigned):
                    # what comes until the next chores would have to be kept
                    self.is_flooding = True
        for raw in events:
            self._event(raw)

    @staticmethod
    def _last(assigned: Assigned) -> int:
        return assigned.overflow[-1].offset() if assigned.overflow else assigned.tracker.last

    def _rewound(self, assigned: Assigned, offset: int) -> None:
        """Offsets went back: the log was truncated, or the topic deleted and made again."""
        log.warning(
            "offsets went back, the log was truncated or the topic made anew",
            extra={
                "event": "log_rewound",
                "topic": assigned.partition.topic,
                "partition": assigned.partition.partition,
                "expected": assigned.tracker.last + 1,
                "offset": offset,
            },
        )
        self._manager.revival.renew(assigned, offset)

    def _event(self, raw: Any) -> None:
        kind = classify(raw, has_group=self._manager.group is not None)
        if kind == Event.END_OF_PARTITION:
            assigned = self._manager.assignment.owned.get(TopicPartition(raw.topic(), raw.partition()))
            # of a partition that is held nothing was delivered: its end says nothing about what is done
            if assigned is not None and assigned.held is None:
                assigned.end = raw.offset()
                if assigned.reach_end():
                    self._manager.commits.note(assigned, 0)
        elif kind == Event.OUT_OF_RANGE:
            self._out_of_range(TopicPartition(raw.topic(), raw.partition()))
        elif kind == Event.REBUILD:
            raise FatalClientError(f"the Kafka client of {self._manager.name} is beyond repair: {raw.error().str()}")
        elif kind == Event.WAITING:
            # the watcher knows whether the topic is just being made, and says what to do if not
            self._manager.observer.error(raw.error().name(), raw.error().str())
        elif kind == Event.REFUSED:
            self._manager.trouble.refused(raw)
        elif kind == Event.PASSING:
            self._manager.trouble.passing(raw)

    def _out_of_range(self, partition: TopicPartition) -> None:
        assigned = self._manager.assignment.owned.get(partition)
        if assigned is None:
            return
        target = starts.out_of_range(self._manager.consumer, partition, assigned.binding, self._last(assigned) + 1)
        if target is None:
            self._manager.trouble.fail(
                f"{partition}: the offset {self._last(assigned) + 1} is out of range and handler "
                f"{assigned.binding.name} says on_out_of_range='fail'; reset the group's offsets to go on"
            )
            assigned.held = "halted"
            return
        if target <= self._last(assigned) or not assigned.has_pending:
            self._manager.revival.renew(assigned, target)
        # else the log has lost what comes next: what is in hand is not in it any more, so dropping it would lose it
        self._manager.consumer.reassign(partition, target)

    def steer(self, now: float) -> None:
        """Pause and resume: a function of counters, looked at regularly and never toggled by events."""
        self.is_flooding = False
        pause, resume = [], {}
        for partition, assigned in self._manager.assignment.busy.items():
            if assigned.held is not None or self._manager.is_quiet:
                continue
            if assigned.paused_at is None:
                if self._manager.assignment.wants_pause(assigned):
                    assigned.paused_at = now
                    assigned.finished_at_pause = assigned.tracker.finished
                    pause.append(partition)
            elif self._manager.assignment.wants_resume(assigned, now):
                assigned.paused_at = None
                resume[partition] = self._last(assigned) + 1
        if pause:
            self._manager.consumer.pause(pause)
        if resume:
            self._manager.consumer.resume_at(resume)
