"""The turns of one partition worker that are under way: what runs now, and what they have finished so far.

The worker's lock guards it: a turn comes with `begin` and goes with `settle`. What runs may be asked by any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.turns import Turn


class Underway:
    """Each of `turns` has a place of its executor."""

    def __init__(self, worker: PartitionWorker) -> None:
        self._worker = worker
        self.turns: set[Turn] = set()

    def running(self) -> list[Turn]:
        """What runs now, for reports (takes the lock)."""
        with self._worker.lock:
            return [turn for turn in self.turns if turn.current is not None]

    def is_running(self, offset: int) -> bool:
        """Whether the call of a message has not returned yet (lock held)."""
        return any(raw.offset() == offset for turn in self.turns for raw in turn.running())

    def harvest(self) -> list[int]:
        """Offsets that are finished so far (takes the lock): a slow call must not keep the earlier ones uncommitted."""
        found: list[int] = []
        if self.turns:
            with self._worker.lock:
                for turn in self.turns:
                    if turn.done:
                        found += self.reap(turn)
        return found

    def reap(self, turn: Turn) -> list[int]:
        """Take what a turn has finished (lock held)."""
        worker, done = self._worker, turn.done
        found = [done.popleft() for _ in range(len(done))]
        turn.harvested += len(found)
        worker.conclusion.passed(len(found))
        worker.forget(found)
        worker.deferrals.forget(found)
        return found

    def tell(self, turn: Turn) -> None:
        """Tell the observers what a turn came to, once it is over: outcomes, durations, waits and ages."""
        if turn.accounts is not None:
            turn.put_down()
            turn.accounts.tell()
        elif turn.durations or turn.counts:
            counts = turn.counts
            counts["ok"] = counts.get("ok", 0) + turn.harvested
            turn.observer.finished(turn.durations, counts)
        else:
            return
        observer = self._worker.observer
        turn.note_ages()
        if turn.waits:
            observer.waited(turn.waits)
        if turn.ages:
            observer.aged(turn.ages)
