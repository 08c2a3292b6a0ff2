"""What an operator has paused in one group: kept for partitions that come later, too; on the group manager's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.worker.mailbox import Pause

if TYPE_CHECKING:
    from elsa.control.protocol import Target
    from elsa.message import TopicPartition
    from elsa.worker.assigned import Assigned
    from elsa.worker.group import GroupManager
    from elsa.worker.mailbox import Resume


class Pauses:
    """Wishes in the order in which they came: the last one that fits a partition decides.

    A pause outlives everything that happens to a partition in this process: a worker that starts anew, a revoke and
    a later assignment.
    """

    def __init__(self, manager: GroupManager) -> None:
        self._manager = manager
        #: (whom, whether to pause)
        self._wishes: list[tuple[Target, bool]] = []

    def has(self, assigned: Assigned) -> bool:
        """Whether a partition is to be paused."""
        return next((pauses for target, pauses in reversed(self._wishes) if _fits(target, assigned)), False)

    def obey(self, wish: Pause | Resume) -> list[TopicPartition]:
        """The partitions that are meant and here; later ones will be as they are now."""
        self._note(wish.target, pauses=isinstance(wish, Pause))
        return self._pause(wish.target) if isinstance(wish, Pause) else self._resume(wish.target)

    def _pause(self, target: Target) -> list[TopicPartition]:
        manager = self._manager
        now = manager.clock.monotonic()
        found = self._owned(target)
        for assigned in found:
            manager.assignment.pause(assigned)
            if assigned.paused_at is None:
                assigned.paused_at = now
        if found:
            manager.consumer.pause([assigned.partition for assigned in found])
        return [assigned.partition for assigned in found]

    def _resume(self, target: Target) -> list[TopicPartition]:
        """They are fetched again when the manager next looks at what it has paused; halted ones begin anew."""
        found = self._owned(target)
        for assigned in found:
            if assigned.is_paused:
                self._manager.assignment.resume(assigned)
        self._manager.revival.go_on(found)
        return [assigned.partition for assigned in found]

    def _note(self, target: Target, *, pauses: bool) -> None:
        # earlier ones that mean nothing else are of no use any more
        self._wishes = [wish for wish in self._wishes if not target.covers(wish[0])]
        if pauses or self._wishes:
            self._wishes.append((target, pauses))

    def _owned(self, target: Target) -> list[Assigned]:
        return [assigned for assigned in self._manager.assignment.owned.values() if _fits(target, assigned)]


def _fits(target: Target, assigned: Assigned) -> bool:
    """Whether a partition is meant; messages that come back through a retry topic belong to their origin, too."""
    binding, partition = assigned.binding, assigned.partition
    return target.fits(
        handlers=(binding.name, *(handler.name for handler in binding.handlers())),
        group=binding.group,
        topics=(partition.topic, assigned.source),
        partition=partition.partition,
    )
