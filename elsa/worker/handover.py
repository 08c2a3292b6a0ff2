"""How partitions come to one group manager and leave it: assigned, revoked, lost, drained.

Everything here runs on the group manager's thread, most of it inside the client's callbacks.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from elsa.errors import name_of
from elsa.worker import deaths, hooks, reports, seen
from elsa.worker.acknowledger import Commit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.message import TopicPartition
    from elsa.worker.assigned import Assigned
    from elsa.worker.group import GroupManager
    from elsa.worker.mailbox import Stop
    from elsa.worker.starts import Begin

log = logging.getLogger("elsa.worker")

#: how long the mailbox is waited for while partitions are given up
_WAIT_SECONDS = 0.1
#: the same while polling goes on
_POLLING_SECONDS = 0.005
#: how long calls that were cancelled may take to end
_CANCEL_SECONDS = 1.0
#: the last commit is tried at least so long, also when the drain took all the time there was
_LAST_COMMIT_SECONDS = 1.0


class Handover:
    """Takes partitions over and gives them up; `stopped_cleanly` tells whether every call had returned by then."""

    def __init__(self, manager: GroupManager) -> None:
        self._manager = manager
        self._clock = manager.clock
        self._app = manager.app
        self.stopped_cleanly = True

    # -- partitions come -----------------------------------------------------------------------------

    def take(self, begins: Mapping[TopicPartition, Begin]) -> None:
        """Partitions are ours: make their workers, run the hooks, fetch from where they begin."""
        manager = self._manager
        consumer, assignment = manager.consumer, manager.assignment
        generation = manager.generation
        hold: list[TopicPartition] = []
        for partition, begin in begins.items():
            binding = manager.routes.binding(partition.topic)
            assert binding is not None
            assigned = assignment.add(partition, binding, begin, source=manager.routes.source(partition.topic))
            if hooks.assigned(self._app, manager.group, partition, generation) is not None:
                assigned.held = "rejected"
            elif assigned.is_halted:
                self._take_halted(assigned)
            elif (found := seen.of(assigned, self._clock)) is not None:
                assigned.held = "loading"
                manager.load_seen(assigned, found)
            if manager.pauses.has(assigned):
                assignment.pause(assigned)
                assigned.paused_at = self._clock.monotonic()
            if assigned.held is not None or assigned.is_paused or manager.is_quiet:
                hold.append(partition)
        deaths.count(manager, [assignment.owned[partition] for partition in begins])
        for partition in begins:
            manager.revival.start(assignment.owned[partition], generation)
        consumer.assign({partition: begin.offset for partition, begin in begins.items()})
        # A pause outlives its assignment in librdkafka: a partition that went while it was paused would never start.
        consumer.resume([partition for partition in begins if partition not in hold])
        if hold:
            consumer.pause(hold)
        pinned = {partition: begin.offset for partition, begin in begins.items() if begin.pinned}
        if pinned and manager.group is not None:
            error, _ = consumer.commit_now({partition: Commit(offset) for partition, offset in pinned.items()})
            if error is not None:
                raise error
            for partition, offset in pinned.items():
                assignment.owned[partition].committed = offset
        if ignored := sum(begin.is_foreign for begin in begins.values()):
            manager.observer.metadata_ignored(ignored)
        manager.share_rates()
        manager.observer.assigned(list(begins))

    def _take_halted(self, assigned: Assigned) -> None:
        assigned.held = "halted"
        log.warning(
            "partition is still halted, `elsa control resume` lets it go on",
            extra={
                "event": "partition_still_halted",
                "topic": assigned.partition.topic,
                "partition": assigned.partition.partition,
                "offset": assigned.committed,
            },
        )

    # -- partitions go -------------------------------------------------------------------------------

    def drain_deadline(self) -> float:
        """When a revoke gives up waiting: before the group would give up this member."""
        settings, stopping = self._app.settings, self._manager.stopping
        deadline = self._clock.monotonic() + min(settings.drain_timeout, 0.4 * settings.max_poll_interval)
        return deadline if stopping is None else min(deadline, stopping.deadline)

    def revoked(self, partitions: list[TopicPartition]) -> None:
        """The group takes partitions away (or we leave): inside the client's callback."""
        manager = self._manager
        try:
            ours = self.release(partitions, deadline=self.drain_deadline(), commit=True)
            if ours:
                hooks.call(self._app, "revoked", ours)
        finally:
            has_some = manager.consumer.unassign(partitions)
            manager.membership.gave_up(has_some=has_some)

    def lost(self, partitions: list[TopicPartition]) -> None:
        """Somebody else may have these partitions already: cancel, commit nothing."""
        manager = self._manager
        try:
            ours = self.release(partitions, deadline=self._clock.monotonic(), commit=False)
            manager.observer.lost(ours)
            hooks.call(self._app, "lost", ours)
        finally:
            has_some = manager.consumer.unassign(partitions)
            manager.membership.gave_up(has_some=has_some, is_lost=True)

    def release(
        self, partitions: Sequence[TopicPartition], *, deadline: float, commit: bool, is_heard: bool = True
    ) -> list[TopicPartition]:
        """Give partitions up: drain them together until `deadline`, cancel the rest, commit; those that were ours.

        The other partitions go on meanwhile: their results are read here. Without `is_heard` the group has not
        answered a commit before, and is not waited for again.
        """
        manager = self._manager
        assignment = manager.assignment
        ours = [p for p in partitions if p in assignment.owned]
        for partition in ours:
            assignment.owned[partition].is_leaving = True
        began = self._clock.monotonic()
        if manager.stopping is not None and manager.commits.is_unanswered(began):
            # One that is waited for ends with the session timeout, if not later: a stop has no time for that. Asked
            # before the drain: inside a callback no answer comes.
            is_heard = False
        assignment.close(ours)
        while not assignment.is_ended(ours) and (left := deadline - self._clock.monotonic()) > 0:
            manager.read(manager.mailbox.wait(min(left, _WAIT_SECONDS)))
            now = self._clock.monotonic()
            manager.timers.fire(now)
            if commit:
                manager.commits.make_due(now)
                manager.transactions.tick(now)
            assignment.admit_waiting()
            manager.commits.make_ahead(now)
            if manager.stopping is not None:
                deadline = min(deadline, manager.stopping.deadline)
        manager.read(manager.mailbox.drain())
        self._cancel(ours, is_lost=not commit)
        manager.read(manager.mailbox.drain())
        if commit:
            manager.results.harvest(ours)
            manager.transactions.finish(ours, deadline)
            if is_heard and (error := manager.commits.make(ours)) is not None:
                text = f"the last commit before giving partitions up failed: {error}"
                manager.trouble.report(name_of(error), text)
        assignment.remove(ours)
        manager.share_rates()
        manager.commits.forget(ours, lost=not commit)
        if ours:
            manager.observer.revoked(ours, self._clock.monotonic() - began)
        return ours

    def _cancel(self, partitions: Sequence[TopicPartition], *, is_lost: bool) -> None:
        """End what still runs; of a partition that was lost that is no fault of the handler's, if it does end."""
        manager = self._manager
        running = manager.assignment.running(partitions)
        if not running:
            return
        why = "partition lost while its handler ran" if is_lost else "handler did not return in time"
        # before they are cancelled: a moment later some of them cannot be named any more
        calls = [call for worker in running for call in reports.calls(worker) or [reports.partition(worker)]]
        manager.assignment.cancel(partitions)
        for call in calls:
            log.error("%s: %s", why, reports.fate(call), extra={"event": "drain_timeout", **call})
        end = self._clock.monotonic() + _CANCEL_SECONDS
        while not manager.assignment.is_ended(partitions) and (left := end - self._clock.monotonic()) > 0:
            manager.read(manager.mailbox.wait(left))
        if not is_lost or not manager.assignment.is_ended(partitions):
            self.stopped_cleanly = False

    def drain(self, stop: Stop) -> None:
        """A stop: take nothing more, keep polling (heartbeats and revokes go on), drain, commit, leave."""
        manager = self._manager
        assignment = manager.assignment
        manager.be_quiet()
        # what was cancelled in an earlier rebalance does not make this stop a forced one
        self.stopped_cleanly = True
        assignment.close(list(assignment.owned))
        deadline = stop.deadline
        while assignment.ending and self._clock.monotonic() < deadline:
            # messages that were under way are dropped: not delivered, not committed, so they come again
            manager.poll(0.0)
            manager.read(manager.mailbox.wait(_POLLING_SECONDS))
            manager.timers.fire(self._clock.monotonic())
            manager.commits.start_due(self._clock.monotonic())
            manager.transactions.tick(self._clock.monotonic())
        # others that stop at the same time have set off a rebalance
        is_heard = manager.commits.make_patiently(max(deadline, self._clock.monotonic() + _LAST_COMMIT_SECONDS))
        ours = self.release(list(assignment.owned), deadline=deadline, commit=True, is_heard=is_heard)
        if ours:
            hooks.call(self._app, "revoked", ours)
        manager.membership.leave(for_good=stop.leave)

    def abandon(self, error: Exception) -> None:
        """The client is broken: nothing can be committed any more, so everything in hand will come again."""
        manager = self._manager
        assignment = manager.assignment
        manager.observer.restarted("group", type(error).__name__)
        owned = list(assignment.owned)
        assignment.close(owned)
        assignment.cancel(owned)
        assignment.remove(owned)
        manager.commits.forget(owned, lost=True)
        manager.revival.clear()
        manager.membership.failed(error)
        if owned:
            hooks.call(self._app, "lost", owned)
