"""What messages came to, as partition workers tell it by mail: counted, noted for the next commit, their room given on.

A group manager has one `Results`; everything here runs on its thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.context import drop
from elsa.worker import traced

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from elsa.message import TopicPartition
    from elsa.worker.assigned import Assigned
    from elsa.worker.group import GroupManager
    from elsa.worker.mailbox import Held, Produced
    from elsa.worker.partition import PartitionWorker


class Results:
    """Of one group manager."""

    def __init__(self, manager: GroupManager) -> None:
        self._manager = manager
        #: partitions with messages that wait for the room which results have just made
        self.touched: dict[TopicPartition, Assigned] = {}

    def finished(self, worker: PartitionWorker, offsets: Sequence[int], *, acknowledges: bool) -> None:
        """These are done; what was given up says nothing of what is held below (`acknowledges=False`)."""
        manager = self._manager
        assigned = manager.assignment.current(worker)
        if assigned is None:
            return
        count = manager.assignment.finished(assigned, offsets, acknowledges=acknowledges)
        assigned.reach_end()
        manager.commits.note(assigned, count)
        if assigned.overflow:
            self.touched[assigned.partition] = assigned

    def produced(self, item: Produced) -> None:
        """A transactional call is done: its offsets and what it has sent are committed together."""
        manager = self._manager
        assigned = manager.assignment.current(item.worker)
        # what a partition that is rolled back still finishes is handled again
        if assigned is not None and assigned.held != "restarting" and not assigned.is_rolled_back:
            manager.transactions.add(assigned, item.offsets, item.sends, item.outcome)
            self.finished(item.worker, item.offsets, acknowledges=True)
        else:
            drop(item.sends)
            traced.over([item.outcome])

    def held(self, item: Held) -> None:
        """These are neither done nor in hand."""
        assigned = self._manager.assignment.current(item.worker)
        if assigned is not None:
            self._manager.assignment.held(assigned, item.offsets)

    def harvest(self, partitions: Iterable[TopicPartition]) -> None:
        """Take what running turns have finished so far: a slow call must not keep the earlier ones uncommitted."""
        for partition in partitions:
            worker = self._manager.assignment.owned[partition].worker
            if worker is not None and (offsets := worker.underway.harvest()):
                self.finished(worker, offsets, acknowledges=True)

    def refill(self) -> None:
        """Results have made room: what waits of the same partitions is handed over at once."""
        assignment = self._manager.assignment
        touched, self.touched = self.touched, {}
        for partition, assigned in touched.items():
            if assignment.admits and assignment.owned.get(partition) is assigned:
                assignment.admit(assigned)
