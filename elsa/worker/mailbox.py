"""What everybody may tell a group manager: the only way into its thread."""

from __future__ import annotations

import queue
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.control.protocol import Target
    from elsa.delivery import HeldSend
    from elsa.handlers import Handler
    from elsa.message import TopicPartition
    from elsa.outcome import Outcome
    from elsa.worker.assigned import Assigned
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.seen import Seen
    from elsa.worker.transactions import Batch, Entry


@dataclass(frozen=True, slots=True)
class Finished:
    """Offsets are done: may be committed when everything below is.

    Those that were given up (dead letters, skipped) do not acknowledge what was answered with CONTINUE below them.
    """

    worker: PartitionWorker
    offsets: Sequence[int]
    acknowledges: bool = True
    #: False when the worker has more to do and nobody need be woken up
    is_urgent: bool = True


@dataclass(frozen=True, slots=True)
class Produced:
    """Offsets are done, in one transaction with what their call has sent; `outcome` is what that came to."""

    worker: PartitionWorker
    offsets: Sequence[int]
    sends: Sequence[HeldSend]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class TransactionEnded:
    """A transaction was committed, or aborted because of `error`; `refused` are sends that no broker takes."""

    batch: Batch
    error: BaseException | None
    refused: Sequence[tuple[BaseException, Entry]] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """Offsets were answered with CONTINUE: the next acknowledged one above them finishes them."""

    worker: PartitionWorker
    offsets: Sequence[int]


@dataclass(frozen=True, slots=True)
class Park:
    """Call `worker.unpark(now)` at this time of the monotonic clock."""

    worker: PartitionWorker
    due: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A closed worker has nothing running and nothing to be confirmed."""

    worker: PartitionWorker


@dataclass(frozen=True, slots=True)
class Crashed:
    """The partition worker (not a message) failed: start it anew. `offset` is what ran then, None for a `setup`."""

    worker: PartitionWorker
    error: BaseException
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Halted:
    """The message at `offset` has failed for the last time, and its partition is to wait for an operator."""

    worker: PartitionWorker
    error: BaseException
    offset: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """It is known what was handled of a partition before: its worker may begin."""

    assigned: Assigned
    seen: Seen


@dataclass(frozen=True, slots=True)
class Topology:
    """All topics of the cluster with their partition counts, and which of them were made just now."""

    topics: Mapping[str, int]
    created: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Unowned:
    """Partitions of our topics have had no owner for a while: leave and join anew."""

    partitions: int


@dataclass(frozen=True, slots=True)
class Horizon:
    """Where the logs of partitions that are not fetched end now.

    `heads` are of those that go on at an offset of which nothing is in hand: it, and when that message was written
    (seconds since the epoch).
    """

    ends: Mapping[TopicPartition, int]
    heads: Mapping[TopicPartition, tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Ask:
    """Put a snapshot of every owned partition into `answer`."""

    answer: queue.SimpleQueue[Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """An operator's wish: begin nothing in these partitions; those that are owned go into `answer`."""

    target: Target
    answer: queue.SimpleQueue[Any]


@dataclass(frozen=True, slots=True)
class Resume:
    """An operator's wish: go on with these partitions, paused or halted; those that are owned go into `answer`."""

    target: Target
    answer: queue.SimpleQueue[Any]


@dataclass(frozen=True, slots=True)
class Regulate:
    """A handler has another rate than before."""

    handler: Handler[Any, Any]


@dataclass(frozen=True, slots=True)
class Quiet:
    """Take no more work."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End: drain until `deadline` (monotonic), commit, leave the group if `leave`."""

    deadline: float
    leave: bool


class Mailbox:
    """A queue into one thread; `put` from anywhere, `drain` and `wait` by its owner.

    Results that are not urgent wait in a deque of their own, which wakes nobody: under load the owner would otherwise
    come round for each of them, and hand the interpreter's lock to and fro. They are read before anything else, so
    that a result never comes after the end of its worker.
    """

    __slots__ = ("_queue", "_results")

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # append and popleft are atomic, with and without the interpreter's lock
        self._results: deque[Any] = deque()

    def put(self, item: Any) -> None:
        if type(item) is Finished and not item.is_urgent:
            self._results.append(item)
        else:
            self._queue.put(item)

    def drain(self) -> list[Any]:
        """Everything that is there now, in order."""
        results = self._results
        items = [results.popleft() for _ in range(len(results))]
        get = self._queue.get_nowait
        try:
            while True:
                items.append(get())
        except queue.Empty:
            return items

    def wait(self, timeout: float) -> list[Any]:
        """Everything that is there; waits up to `timeout` seconds for the first urgent item."""
        try:
            first = self._queue.get(timeout=timeout) if timeout > 0 else self._queue.get_nowait()
        except queue.Empty:
            return self.drain()
        results = self._results
        items = [results.popleft() for _ in range(len(results))]
        return [*items, first, *self.drain()]
