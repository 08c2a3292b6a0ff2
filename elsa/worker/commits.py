"""Commits of one group: carries out what the acknowledger says; called on the group manager's thread alone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from elsa.errors import name_of
from elsa.worker.acknowledger import Acknowledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.errors import ElsaError
    from elsa.message import TopicPartition
    from elsa.worker.acknowledger import Commit
    from elsa.worker.assigned import Assigned
    from elsa.worker.group import GroupManager

log = logging.getLogger("elsa.worker")

#: how long nothing is taken after a commit ahead of it was refused
_REFUSED_SECONDS = 0.2
#: how long a commit that a rebalance refuses pauses before it is tried again
_AGAIN_SECONDS = 0.005
#: a coordinator that has not answered a commit within this time is away
_ANSWER_SECONDS = 2.0


class Commits:
    """Starts commits, hears their answers; makes those that have to be waited for."""

    def __init__(self, manager: GroupManager, *, interval: float, every: int) -> None:
        self._manager = manager
        self._clock = manager.clock
        self._acknowledger = Acknowledger(interval=interval, every=every)
        self._ahead_from = 0.0

    @property
    def in_flight(self) -> bool:
        """Whether an answer is waited for."""
        return self._acknowledger.in_flight

    def is_unanswered(self, now: float) -> bool:
        """Whether the coordinator has not answered for long: it is away, and another commit would wait for it, too."""
        return self.in_flight and now - self._acknowledger.started > _ANSWER_SECONDS

    def is_behind(self, now: float) -> bool:
        """Whether nothing more may run, because too much is finished and not committed."""
        return self._acknowledger.is_behind(now) or self._manager.transactions.is_behind

    def note(self, assigned: Assigned, messages: int) -> None:
        """So many messages of a partition are finished, or something else is to be committed."""
        if assigned.is_transactional:
            self._manager.transactions.note(assigned, messages)
        elif not assigned.commits_first:
            self._acknowledger.finished(assigned, messages)
        elif assigned.tracker.is_idle and assigned.tracker.base > assigned.committed:
            # the log's end
            self._manager.assignment.taken[assigned.partition] = assigned

    def note_changes(self) -> None:
        """What has changed without a result is to be committed, too: failed attempts, what was done before us."""
        assignment = self._manager.assignment
        for assigned in assignment.balance():
            assigned.tracker.version += 1
        for assigned in assignment.busy.values():
            if assigned.tracker.version != assigned.version_committed:
                self.note(assigned, 0)

    def make_ahead(self, now: float) -> None:
        """Commit what handlers that run at most once have taken, all of it at once, and then let it run.

        What is refused has not run, and is tried again; of a partition that goes nothing is committed any more.
        """
        manager = self._manager
        taken = manager.assignment.taken
        if not taken or now < self._ahead_from:
            return
        ready = {p: a for p, a in taken.items() if a.held is None and a.worker is not None and not a.worker.is_stopping}
        commits = {partition: commit for partition, a in ready.items() if (commit := a.commit_ahead()) is not None}
        if commits:
            error, fenced = self._commit_now(commits)
            seconds = self._clock.monotonic() - now
            offsets = {partition: commit.offset for partition, commit in commits.items()}
            manager.observer.committed("ok" if error is None else "error", seconds, offsets)
            if error is not None:
                self._ahead_from = self._clock.monotonic() + _REFUSED_SECONDS
                if not fenced:
                    text = f"the commit before messages run at most once was refused: {error}"
                    manager.trouble.report(name_of(error), text)
                return
        for partition, assigned in ready.items():
            del taken[partition]
            if partition in commits:
                assigned.confirm(commits[partition])
            assigned.run_taken()

    def forget(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        """Partitions are not ours any more; when they were lost, the answer under way will not be missed."""
        self._acknowledger.forget(partitions)
        self._manager.transactions.forget(partitions)
        if lost:
            self._acknowledger.abandon()

    def start_due(self, now: float) -> None:
        """Start a commit when it is time."""
        manager = self._manager
        if manager.group is None:
            return
        self._start(self._acknowledger.due(now, manager.assignment.owned))

    def _start(self, commits: Mapping[TopicPartition, Commit]) -> None:
        manager = self._manager
        if not commits:
            return
        self._note_cut(commits)
        try:
            manager.consumer.commit(commits)
        except Exception as error:  # a commit that cannot even be queued is one that failed
            self._acknowledger.answered(manager.assignment.owned, commits, ok=False)
            manager.trouble.report(name_of(error), f"the commit could not be sent: {error}")

    def answered(self, error: ElsaError | None, fenced: bool, partitions: Sequence[TopicPartition]) -> None:  # noqa: FBT001 - callback
        """The broker answered a commit."""
        manager = self._manager
        seconds = self._clock.monotonic() - self._acknowledger.started
        sent = self._acknowledger.sent
        self._acknowledger.answered(manager.assignment.owned, partitions, ok=error is None)
        offsets = {partition: sent[partition].offset for partition in partitions if partition in sent}
        manager.observer.committed("ok" if error is None else "error", seconds, offsets)
        if fenced:
            # every rebalance may cross a commit that was under way
            log.info("a commit met a rebalance and will be repeated", extra={"group": manager.name})
        elif error is not None:
            manager.trouble.report(name_of(error), f"the commit was refused and will be repeated: {error}")

    def make(self, partitions: Sequence[TopicPartition]) -> ElsaError | None:
        """Commit what is finished and wait for the answer; why it was refused."""
        manager = self._manager
        if manager.group is None:
            return None
        # also what has failed since the last chores: there may be none after this
        self.note_changes()
        owned = manager.assignment.owned
        commits = self._acknowledger.pending(owned, [p for p in partitions if not owned[p].is_transactional])
        if not commits:
            return None
        self._note_cut(commits)
        began = self._clock.monotonic()
        error, _ = self._commit_now(commits)
        self._acknowledger.answered(manager.assignment.owned, commits, ok=error is None, sent=commits)
        offsets = {partition: commit.offset for partition, commit in commits.items()}
        seconds = self._clock.monotonic() - began
        manager.observer.committed("ok" if error is None else "error", seconds, offsets)
        return error

    def _commit_now(self, commits: Mapping[TopicPartition, Commit]) -> tuple[ElsaError | None, bool]:
        before = self._manager.spending.enter("commit")
        try:
            return self._manager.consumer.commit_now(commits)
        finally:
            self._manager.spending.enter(before)

    def make_due(self, now: float) -> None:
        """Commit what is due inside a callback, where the answer of a commit under way cannot come."""
        manager = self._manager
        if manager.group is not None and self._acknowledger.is_due(now):
            self.make(self._acknowledger.take(now))
        manager.assignment.set_flow(not self.is_behind(now))

    def make_patiently(self, deadline: float) -> bool:
        """Commit what is finished, again while a rebalance refuses it, which goes on with each poll; whether all is.

        One that is waited for (`make`) could take a minute: behind the client's request to join, which a group
        answers when its last member has come.
        """
        manager = self._manager
        if manager.group is None:
            return True
        while True:
            now = self._clock.monotonic()
            if not self.in_flight:
                rest = self._acknowledger.rest(now, manager.assignment.owned)
                if not rest:
                    return True
                self._start(rest)
            if now >= deadline:
                return False
            manager.poll(_AGAIN_SECONDS)
            manager.read(manager.mailbox.wait(_AGAIN_SECONDS))

    def _note_cut(self, commits: Mapping[TopicPartition, Commit]) -> None:
        """What is finished above a base and could not be written runs again after a crash."""
        cut = [partition for partition, commit in commits.items() if commit.is_cut]
        if cut:
            self._manager.observer.metadata_cut(len(cut))
