"""How partitions come to one group manager and leave it: assigned, revoked, lost, drained; also worker by worker.

Everything here runs on the group manager's thread, most of it inside the client's callbacks.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from elsa.errors import KafkaError
from elsa.kafka.consumer import BEGINNING
from elsa.worker import deaths, hooks, reports, seen, starts
from elsa.worker.acknowledger import Commit
from elsa.worker.caution import MOST_DEATHS, SUSPECT_DEATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from elsa.message import TopicPartition
    from elsa.worker.assigned import Assigned
    from elsa.worker.group import GroupManager
    from elsa.worker.mailbox import Stop
    from elsa.worker.partition import PartitionWorker

log = logging.getLogger("elsa.worker")

#: how long the mailbox is waited for while partitions are given up
_WAIT_SECONDS = 0.1
#: the same while polling goes on
_POLLING_SECONDS = 0.005
#: how long calls that were cancelled may take to end
_CANCEL_SECONDS = 1.0
#: the last commit is tried at least so long, also when the drain took all the time there was
_LAST_COMMIT_SECONDS = 1.0
#: crashes of a partition worker at one offset after which the partition is halted
MOST_CRASHES = 10


class Handover:
    """Takes partitions over and gives them up; `stopped_cleanly` tells whether every call had returned by then."""

    def __init__(self, manager: GroupManager) -> None:
        self._manager = manager
        self._clock = manager.clock
        self._app = manager.app
        self.stopped_cleanly = True
        #: crashed workers whose other calls have not returned yet, with the time from which on they may begin anew
        #: (None: never)
        self._reviving: dict[PartitionWorker, tuple[Assigned, float | None]] = {}

    # -- partitions come -----------------------------------------------------------------------------

    def take(self, begins: Mapping[TopicPartition, starts.Begin]) -> None:
        """Partitions are ours: make their workers, run the hooks, fetch from where they begin."""
        manager = self._manager
        consumer, assignment = manager.consumer, manager.assignment
        generation = self._generation()
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
            self._start(assignment.owned[partition], generation)
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

    def _start(self, assigned: Assigned, generation: int | None) -> None:
        assignment = self._manager.assignment
        if assigned.held in ("halted", "loading"):
            return
        assignment.start(assigned, generation)
        if assigned.deaths and assigned.worker is not None:
            assignment.caution.expect(assigned.worker, assigned.suspects(SUSPECT_DEATHS, MOST_DEATHS - 1))
            if assigned.is_paused or assigned.held == "rejected":
                assignment.caution.set_aside(assigned.worker)

    def loaded(self, assigned: Assigned, found: seen.Seen) -> None:
        """It is known what was handled of a partition before."""
        assigned.seen = found
        if assigned.held == "loading":
            self._revive(assigned)

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

    def _generation(self) -> int | None:
        manager = self._manager
        return manager.consumer.generation() if manager.group is not None else None

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
            manager.consumer.unassign(partitions)
            manager.membership.gave_up()

    def lost(self, partitions: list[TopicPartition]) -> None:
        """Somebody else may have these partitions already: cancel, commit nothing."""
        manager = self._manager
        try:
            ours = self.release(partitions, deadline=self._clock.monotonic(), commit=False)
            manager.observer.lost(ours)
            hooks.call(self._app, "lost", ours)
        finally:
            manager.consumer.unassign(partitions)
            manager.membership.gave_up(is_lost=True)

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
            manager.harvest(ours)
            manager.transactions.finish(ours, deadline)
            if manager.stopping is not None and manager.commits.is_unanswered(self._clock.monotonic()):
                # one that is waited for ends with the session timeout, if not later: a stop has no time for that
                is_heard = False
            if is_heard and (error := manager.commits.make(ours)) is not None:
                manager.report("commit", f"the last commit before giving partitions up failed: {error}")
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
        calls: list[dict[str, Any]] = [call for worker in running for call in reports.calls(worker) or [{}]]
        manager.assignment.cancel(partitions)
        for call in calls:
            log.error("%s, its message will be delivered again", why, extra={"event": "drain_timeout", **call})
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
        self._reviving.clear()
        manager.membership.failed(error)
        if owned:
            hooks.call(self._app, "lost", owned)

    # -- one worker fails ----------------------------------------------------------------------------

    def crashed(self, worker: PartitionWorker, error: BaseException, offset: int | None) -> None:
        """A partition worker failed: a new one begins at its last unfinished offset, the others never notice.

        Other calls of the same worker may still run: their results count, and nothing begins before they have ended.
        """
        manager = self._manager
        assigned = manager.assignment.current(worker)
        if assigned is None:
            return
        at, backoff = assigned.crash(offset)
        pause = backoff.next()
        facts: dict[str, Any] = {
            "topic": assigned.partition.topic,
            "partition": assigned.partition.partition,
            "offset": at,
            "handler": worker.handler_name,
        }
        manager.consumer.pause([assigned.partition])
        manager.assignment.ending.add(worker)
        if backoff.failures > MOST_CRASHES:
            assigned.held = "halted"
            manager.observer.halted(assigned.partition, type(error).__name__)
            log.error(
                "partition halted: its worker failed again and again at the same offset",
                exc_info=error,
                extra={"event": "partition_halted", **facts},
            )
            self._reviving[worker] = (assigned, None)
            return
        assigned.held = "restarting"
        manager.observer.restarted("partition", type(error).__name__)
        log.error(
            "partition worker failed and starts anew",
            exc_info=error,
            extra={"event": "partition_restart", "in_seconds": round(pause, 1), **facts},
        )
        self._reviving[worker] = (assigned, self._clock.monotonic() + pause)

    def halted(self, worker: PartitionWorker, error: BaseException, offset: int) -> None:
        """A message has failed for the last time and its handler wants nothing to pass it."""
        manager = self._manager
        assigned = manager.assignment.current(worker)
        if assigned is None:
            return
        assigned.halt()
        manager.commits.note(assigned, 0)
        manager.consumer.pause([assigned.partition])
        manager.assignment.ending.add(worker)
        manager.observer.halted(assigned.partition, type(error).__name__)
        log.error(
            "partition halted: a message has failed for the last time, `elsa control resume` lets it go on",
            exc_info=error,
            extra={
                "event": "partition_halted",
                "topic": assigned.partition.topic,
                "partition": assigned.partition.partition,
                "offset": offset,
                "handler": worker.handler_name,
            },
        )
        self._reviving[worker] = (assigned, None)

    def go_on(self, partitions: Iterable[Assigned]) -> None:
        """Let those of these partitions that are halted begin anew at their last unfinished offset."""
        manager = self._manager
        for assigned in partitions:
            if assigned.held != "halted":
                continue
            assigned.go_on()
            manager.assignment.busy[assigned.partition] = assigned
            manager.commits.note(assigned, 0)
            log.warning(
                "halted partition goes on",
                extra={
                    "event": "partition_resumed",
                    "topic": assigned.partition.topic,
                    "partition": assigned.partition.partition,
                },
            )
            ending = next((worker for worker, (one, _) in self._reviving.items() if one is assigned), None)
            if ending is not None:
                # calls of before still run: it begins when they have returned
                assigned.held = "restarting"
                self._reviving[ending] = (assigned, self._clock.monotonic())
            else:
                self._revive(assigned)

    def ended(self, worker: PartitionWorker) -> None:
        """A closed worker has nothing running any more."""
        self._manager.assignment.ended(worker)
        reviving = self._reviving.pop(worker, None)
        if reviving is not None:
            assigned, due = reviving
            if self._manager.transactions.holds(assigned):
                # what was finished before is committed, or given up, before anybody begins anew
                self._reviving[worker] = reviving
                self._manager.transactions.when_done(lambda: self.ended(worker))
                return
            if self._manager.assignment.owned.get(assigned.partition) is not assigned:
                return
            self._manager.assignment.restart(assigned)
            if due is not None:
                self._manager.timers.at(due, lambda _: self._revive(assigned))
            elif assigned.is_rolled_back:
                self._settle_halt(assigned)

    def _settle_halt(self, assigned: Assigned) -> None:
        """It halts where the broker says, for what it had finished was aborted."""
        manager = self._manager
        if manager.assignment.owned.get(assigned.partition) is not assigned or not assigned.is_rolled_back:
            return
        if not self._ask_again(assigned):
            self._later(assigned, self._settle_halt)
        elif assigned.is_halted:
            assigned.tracker.version += 1
            manager.assignment.busy[assigned.partition] = assigned
            manager.commits.note(assigned, 0)

    def _later(self, assigned: Assigned, call: Callable[[Assigned], None]) -> None:
        """No broker knows the offsets for now."""
        due = self._clock.monotonic() + assigned.rollbacks.next()
        self._manager.timers.at(due, lambda _: call(assigned))

    def _revive(self, assigned: Assigned) -> None:
        manager = self._manager
        if manager.assignment.owned.get(assigned.partition) is not assigned or assigned.worker is not None:
            return
        if assigned.is_transactional and not self._ask_again(assigned):
            self._later(assigned, self._revive)
            return
        if assigned.seen is None and (found := seen.of(assigned, self._clock)) is not None:
            # it was halted when it came
            assigned.held = "loading"
            manager.load_seen(assigned, found)
            return
        base = assigned.tracker.base
        assigned.held = None
        assigned.paused_at = self._clock.monotonic() if assigned.is_paused else None
        self._start(assigned, self._generation())
        # in this order: a seek in a paused partition does not wake up librdkafka
        if not manager.is_quiet and not assigned.is_paused:
            manager.consumer.resume([assigned.partition])
        manager.consumer.seek(assigned.partition, base if base >= 0 else BEGINNING)

    def roll_back(self, assigned: Assigned) -> None:
        """The transaction with what a partition has finished was aborted: it begins anew where the broker says."""
        manager = self._manager
        worker = assigned.worker
        if manager.assignment.owned.get(assigned.partition) is not assigned or worker is None:
            return
        manager.consumer.pause([assigned.partition])
        pause = assigned.rollbacks.next()
        assigned.is_rolled_back = True
        if assigned.held is None:
            assigned.held = "restarting"
        # one that is closed already goes with its partition, and may have told its end
        if worker not in self._reviving and not worker.is_stopping:
            manager.assignment.ending.add(worker)
            self._reviving[worker] = (assigned, self._clock.monotonic() + pause)
            manager.observer.restarted("partition", "TransactionAborted")
            worker.close()

    def _ask_again(self, assigned: Assigned) -> bool:
        """Begin where the broker says; False when it does not say so now."""
        manager = self._manager
        wanted = {assigned.partition: assigned.binding}
        try:
            begin = starts.resolve(manager.consumer, wanted, manager.group, manager.routes)[assigned.partition]
        except KafkaError as error:
            if not error.retryable:
                raise
            manager.report("committed", f"{assigned.partition}: where to begin anew is not known yet: {error}")
            return False
        attempts = assigned.restored.attempts if assigned.restored is not None else {}
        assigned.begin_anew(begin, attempts)
        return True

    def renew(self, assigned: Assigned, base: int) -> None:
        """The log goes on at another offset: a new worker begins there."""
        self._manager.assignment.rebase(assigned, base)
        self._manager.assignment.start(assigned, self._generation())
