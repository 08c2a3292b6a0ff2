"""Decides which offsets of a group are committed and when; owned by the group manager's thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from elsa.message import TopicPartition
    from elsa.worker.assigned import Assigned
    from elsa.worker.offsets import Tracker

#: how long the broker may take for a commit before fast handlers have to wait for it
PATIENCE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Commit:
    """What is committed of one partition: the next offset, and what is finished above it.

    `version` and `finished` are the tracker's at that moment; `is_cut` when the metadata did not fit.
    """

    offset: int
    metadata: str = ""
    tracker: Tracker | None = field(default=None, compare=False, repr=False)
    version: int = field(default=0, compare=False)
    finished: int = field(default=0, compare=False)
    is_cut: bool = field(default=False, compare=False)


class Acknowledger:
    """Collects finished work and says what to commit: dirty partitions only, never backwards, one at a time.

    A commit is due `interval` seconds after the last, or once `every` messages have finished; a further one
    waits until the broker has answered. When that takes longer than 0.1 s and nearly twice `every` are
    finished, no message is started until then. What a kill repeats is therefore at most what was in progress
    and two times `every` (of handlers that finish more than that in 0.1 s: what they finish in 0.1 s), also
    while the broker is away. It touches no client: the group manager commits what `due` returns.
    """

    def __init__(self, *, interval: float, every: int) -> None:
        self._interval = interval
        self._every = every
        self._dirty: set[TopicPartition] = set()
        self._finished = 0
        #: messages whose commit is under way
        self._confirming = 0
        self._last = 0.0
        #: the last answer was a refusal: neither ask again at once, nor run on as if nothing were
        self._is_refused = False
        #: what the last commit that `due` gave out says
        self.sent: Mapping[TopicPartition, Commit] = {}
        self.in_flight = False
        #: when the commit that is in flight began
        self.started = 0.0

    def finished(self, assigned: Assigned, messages: int) -> None:
        """So many messages of a partition are finished, or something else has changed that a commit would write."""
        self._finished += messages
        if assigned.tracker.version != assigned.version_committed:
            self._dirty.add(assigned.partition)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions are not ours any more."""
        self._dirty.difference_update(partitions)
        if not self._dirty:
            self._finished = 0
            self._is_refused = False

    def is_behind(self, now: float) -> bool:
        """Whether nothing more may run: much is finished, and its commit takes long."""
        is_late = self.in_flight and now - self.started >= PATIENCE_SECONDS
        # what was refused and is not ours any more is never asked for again: nothing may wait for its answer
        if not is_late and not (self._is_refused and (self._dirty or self.in_flight)):
            return False
        # it takes a moment until running calls have noticed
        return self._finished + self._confirming >= 1.8 * self._every

    def abandon(self) -> None:
        """Partitions were lost: the commit that is under way will not be missed."""
        self.in_flight = self._is_refused = False
        self._confirming = 0

    def wait(self, now: float) -> float | None:
        """Seconds until a commit is due, None when nothing is to be committed."""
        if not self._dirty or self.in_flight:
            return None
        return self._pause(now)

    def is_due(self, now: float) -> bool:
        """Whether something should be committed now, also past a commit whose answer cannot come yet.

        Not after a refusal: the caller waits for the answer, and a coordinator that is away takes its time.
        """
        return bool(self._dirty) and not self._is_refused and self._pause(now) == 0.0

    def take(self, now: float) -> list[TopicPartition]:
        """The partitions of a commit that the caller makes at once and reports with `answered`."""
        partitions = list(self._dirty)
        self._dirty.clear()
        self._last = self.started = now
        self._confirming, self._finished = self._confirming + self._finished, 0
        return partitions

    def _pause(self, now: float) -> float:
        pause = self._interval
        if self._finished >= self._every:
            pause = min(pause, PATIENCE_SECONDS) if self._is_refused else 0.0
        return max(0.0, self._last + pause - now)

    def due(self, now: float, owned: Mapping[TopicPartition, Assigned]) -> dict[TopicPartition, Commit]:
        """What to commit now, empty when it is not time; the caller starts the commit."""
        return self._begin(now, self.pending(owned)) if self.wait(now) == 0.0 else {}

    def rest(self, now: float, owned: Mapping[TopicPartition, Assigned]) -> dict[TopicPartition, Commit]:
        """All that is not committed, whether it is time or not; the caller starts the commit."""
        return self._begin(now, self.pending(owned, owned))

    def _begin(self, now: float, commits: dict[TopicPartition, Commit]) -> dict[TopicPartition, Commit]:
        self._dirty.clear()
        self._last = now
        if commits:
            self._confirming, self._finished = self._finished, 0
            self.in_flight = True
            self.started = now
            self.sent = commits
        else:
            self._finished = 0
        return commits

    def pending(
        self, owned: Mapping[TopicPartition, Assigned], only: Iterable[TopicPartition] | None = None
    ) -> dict[TopicPartition, Commit]:
        """What could be committed of these (or of all dirty) partitions."""
        found = {}
        for partition in self._dirty if only is None else only:
            assigned = owned.get(partition)
            # offsets of transactions are committed by them alone
            commit = None if assigned is None or assigned.is_transactional else assigned.commit()
            if commit is not None:
                found[partition] = commit
        return found

    def answered(
        self,
        owned: Mapping[TopicPartition, Assigned],
        partitions: Iterable[TopicPartition],
        *,
        ok: bool,
        sent: Mapping[TopicPartition, Commit] | None = None,
    ) -> None:
        """The broker answered for these partitions what was `sent` to it (by default: what `due` gave out last).

        What it refused is tried again at the next tick, if it is still ours then. That holds for a stale generation,
        too: a cooperative rebalance leaves partitions with us, and their offsets are committed under the next
        generation. Those that we lose are forgotten.
        """
        self.in_flight = False
        self._is_refused = not ok
        if not ok:
            self._finished += self._confirming
        self._confirming = 0
        commits = self.sent if sent is None else sent
        for partition in partitions:
            assigned, commit = owned.get(partition), commits.get(partition)
            if assigned is None:
                continue
            if ok and commit is not None:
                assigned.confirm(commit)
            elif not ok:
                self._dirty.add(partition)
