"""How a partition begins anew while it stays: its worker has crashed or halted, its transaction or its log went back.

A group manager has one `Revival`. Everything here runs on its thread.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from elsa.errors import KafkaError, name_of
from elsa.kafka.consumer import BEGINNING
from elsa.worker import seen, starts
from elsa.worker.caution import MOST_DEATHS, SUSPECT_DEATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from elsa.worker.assigned import Assigned
    from elsa.worker.group import GroupManager
    from elsa.worker.partition import PartitionWorker

log = logging.getLogger("elsa.worker")

#: crashes of a partition worker at one offset after which the partition is halted
MOST_CRASHES = 10


class Revival:
    """Starts the workers of partitions, ends those that have failed, and lets others begin where they were."""

    def __init__(self, manager: GroupManager) -> None:
        self._manager = manager
        self._clock = manager.clock
        #: workers that have failed and whose other calls have not returned yet, with the time from which on another
        #: may begin (None: never)
        self._reviving: dict[PartitionWorker, tuple[Assigned, float | None]] = {}

    def start(self, assigned: Assigned, generation: int | None) -> None:
        """Give a partition its worker, unless something is to be known before; suspects among its messages wait."""
        assignment = self._manager.assignment
        if assigned.held in ("halted", "loading"):
            return
        assignment.start(assigned, generation)
        if assigned.mishaps.deaths and assigned.worker is not None:
            assignment.caution.expect(assigned.worker, assigned.mishaps.suspects(SUSPECT_DEATHS, MOST_DEATHS - 1))
            if assigned.is_paused or assigned.held == "rejected":
                assignment.caution.set_aside(assigned.worker)

    def loaded(self, assigned: Assigned, found: seen.Seen) -> None:
        """It is known what was handled of a partition before."""
        assigned.seen = found
        if assigned.held == "loading":
            self._revive(assigned)

    def clear(self) -> None:
        """All partitions are gone."""
        self._reviving.clear()

    # -- a worker fails --------------------------------------------------------------------------------

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
            "handler": worker.binding.name,
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
                "handler": worker.binding.name,
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
        self.start(assigned, self._manager.generation)
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
            text = f"{assigned.partition}: where to begin anew is not known yet: {error}"
            manager.trouble.report(name_of(error), text)
            return False
        attempts = assigned.restored.attempts if assigned.restored is not None else {}
        assigned.begin_anew(begin, attempts)
        return True

    def renew(self, assigned: Assigned, base: int) -> None:
        """The log goes on at another offset: a new worker begins there."""
        self._manager.assignment.rebase(assigned, base)
        self._manager.assignment.start(assigned, self._manager.generation)
