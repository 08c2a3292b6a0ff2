"""What of one partition waits to run, and what may run now: one lane, or one for each key; used by its worker.

Whoever calls anything here holds the partition worker's lock. Nothing is kept for a key that has nothing in hand.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from elsa.worker.executors import Executor

#: a message that waits for its next attempt: when, its offset (so that no two compare equal), and whether its key
#: waits with it
Parked = tuple[float, int, Any, bool]


class Lanes(Protocol):
    """What a partition worker asks of its lanes; messages are the client's, ascending by offset."""

    @property
    def queued(self) -> int:
        """How many messages neither run nor wait for another attempt."""
        ...

    def put(self, raws: Sequence[Any]) -> None:
        """Messages came, behind everything that is here."""
        ...

    def executors(self) -> Iterable[Executor]:
        """Which executors have something to run now."""
        ...

    def is_ready(self, executor: Executor) -> bool: ...

    def park(self, raw: Any, due: float, *, holds: bool) -> None:
        """Run a message again at `due` (monotonic); `holds` tells that it was taken and its lane waits with it."""
        ...

    def end_batch(self, raws: Sequence[Any], back: Mapping[int, float | None]) -> float | None:
        """A batch is over; those in `back` (by offset) come again: at once (None), or not before a time.

        Returns when `unpark` is to be called for them, None when nothing waits for a time.
        """
        ...

    def unpark(self, now: float) -> bool:
        """What is due may run; whether anything was."""
        ...

    @property
    def due(self) -> float | None:
        """When the next parked message is due."""
        ...

    @property
    def parked(self) -> int:
        """How many messages wait for another attempt."""
        ...

    def waiting(self, offsets: AbstractSet[int]) -> set[int]:
        """Which of these cannot run before a time, since they or what is before them wait for another attempt."""
        ...

    def clear(self) -> None:
        """Forget everything; what runs is not given back any more."""
        ...


class SingleLane:
    """The whole partition is one lane: its head runs alone, and what failed holds everything behind it."""

    def __init__(self, executor_of: Callable[[Any], Executor], *, is_mixed: bool = False) -> None:
        self._executor_of = executor_of
        self._is_mixed = is_mixed
        self._queue: deque[Any] = deque()
        self._is_busy = False
        self._due: float | None = None

    @property
    def queued(self) -> int:
        return len(self._queue)

    def put(self, raws: Sequence[Any]) -> None:
        self._queue.extend(raws)

    def executors(self) -> Iterable[Executor]:
        if self._is_busy or self._due is not None or not self._queue:
            return ()
        return (self._executor_of(self._queue[0]),)

    def is_ready(self, executor: Executor) -> bool:
        return executor in self.executors()

    def take(self, executor: Executor, most: int, alone: AbstractSet[int] = frozenset()) -> list[Any]:
        """The next messages to run one after the other, or together; `alone` are those that run by themselves."""
        if not self.is_ready(executor):
            return []
        queue = self._queue
        self._is_busy = True
        count = min(most, len(queue))
        if alone or self._is_mixed:
            count = self._leading(executor, count, alone)
        return [queue.popleft() for _ in range(count)]

    def _leading(self, executor: Executor, count: int, alone: AbstractSet[int]) -> int:
        if self._queue[0].offset() in alone:
            return 1
        for index in range(1, count):
            raw = self._queue[index]
            if raw.offset() in alone or (self._is_mixed and self._executor_of(raw) is not executor):
                return index
        return count

    def give_back(self, raws: Sequence[Any]) -> None:
        """Of what was taken, these have not run (to the end): they are the lane's head again."""
        self._is_busy = False
        self._insert(raws)

    def _insert(self, raws: Sequence[Any]) -> None:
        queue = self._queue
        if raws and queue and queue[0].offset() < raws[-1].offset():
            # the call of an earlier one has failed late, by a send that was refused
            self._queue = deque(sorted([*raws, *queue], key=lambda raw: int(raw.offset())))
        else:
            queue.extendleft(reversed(raws))

    def park(self, raw: Any, due: float, *, holds: bool) -> None:
        if not holds:
            self._insert([raw])
        self._hold_until(due)

    def end_batch(self, raws: Sequence[Any], back: Mapping[int, float | None]) -> float | None:
        self.give_back([raw for raw in raws if raw.offset() in back])
        dues = [due for due in back.values() if due is not None]
        if not dues:
            return None
        self._hold_until(max(dues))
        return self._due

    def _hold_until(self, due: float) -> None:
        """Run nothing before a time."""
        self._due = max(due, self._due or due)

    def unpark(self, now: float) -> bool:
        if self._due is None or now < self._due:
            return False
        self._due = None
        return True

    @property
    def due(self) -> float | None:
        return self._due

    @property
    def parked(self) -> int:
        return 0 if self._due is None else 1

    def waiting(self, offsets: AbstractSet[int]) -> set[int]:
        return set() if self._due is None else set(offsets)

    def clear(self) -> None:
        self._queue.clear()
        self._due = None


class KeyedLanes:
    """A lane for each key in hand: different keys run at the same time, the same key one after the other.

    A message without a key is a lane of its own, and so is each message with `by_key=False`. `_lanes` has the keys
    of which one message is ready, runs or is parked, with what waits behind it; a key without any is not in there.
    """

    def __init__(self, executor_of: Callable[[Any], Executor], *, by_key: bool) -> None:
        self._executor_of = executor_of
        self._by_key = by_key
        self._ready: dict[Executor, deque[Any]] = {}
        self._lanes: dict[bytes, deque[Any] | None] = {}
        self._parked: list[Parked] = []
        self.queued = 0

    def put(self, raws: Sequence[Any]) -> None:
        lanes = self._lanes
        self.queued += len(raws)
        for raw in raws:
            key = raw.key() if self._by_key else None
            if key is None:
                self._make_ready(raw)
            elif key not in lanes:
                lanes[key] = None
                self._make_ready(raw)
            elif (queue := lanes[key]) is None:
                lanes[key] = deque((raw,))
            else:
                queue.append(raw)

    def _make_ready(self, raw: Any) -> None:
        executor = self._executor_of(raw)
        ready = self._ready.get(executor)
        if ready is None:
            self._ready[executor] = deque((raw,))
        else:
            ready.append(raw)

    def executors(self) -> Iterable[Executor]:
        return [executor for executor, ready in self._ready.items() if ready]

    def is_ready(self, executor: Executor) -> bool:
        return bool(self._ready.get(executor))

    def next(self, executor: Executor) -> Any | None:
        """A message that may run now; its key is taken until `release` or `park`."""
        ready = self._ready.get(executor)
        if not ready:
            return None
        self.queued -= 1
        return ready.popleft()

    def release(self, raw: Any) -> None:
        """A message that was taken is over: the next one of its key may run."""
        key = raw.key() if self._by_key else None
        if key is None:
            return
        queue = self._lanes[key]
        if queue:
            self._make_ready(queue.popleft())
        else:
            del self._lanes[key]

    def take_batch(
        self, executor: Executor, most: int, alone: AbstractSet[int], attempts: Mapping[int, int]
    ) -> list[Any]:
        """Messages to run together, ascending; all their keys are taken until `end_batch`.

        They have failed equally often, so that none is given up because of its company.
        """
        head = self.next(executor)
        if head is None:
            return []
        found = [head]
        if head.offset() in alone:
            return found
        tries = attempts.get(head.offset(), 0)

        def fits(raw: Any) -> bool:
            return len(found) < most and raw.offset() not in alone and attempts.get(raw.offset(), 0) == tries

        self._take_followers(head, found, fits)
        others = []
        while len(found) < most and (raw := self.next(executor)) is not None:
            if fits(raw):
                found.append(raw)
                self._take_followers(raw, found, fits)
            else:
                others.append(raw)
        self._ready[executor].extendleft(reversed(others))
        self.queued += len(others)
        found.sort(key=lambda raw: int(raw.offset()))
        return found

    def _take_followers(self, raw: Any, found: list[Any], fits: Callable[[Any], bool]) -> None:
        """Those of the same key that come next go into the same batch."""
        queue = self._lanes.get(raw.key()) if self._by_key and raw.key() is not None else None
        while queue and fits(queue[0]):
            found.append(queue.popleft())
            self.queued -= 1

    def end_batch(self, raws: Sequence[Any], back: Mapping[int, float | None]) -> float | None:
        left: dict[bytes | int, list[Any]] = {}
        heads: dict[bytes | int, Any] = {}
        for raw in raws:
            key = raw.key() if self._by_key else None
            lane: bytes | int = raw.offset() if key is None else key
            heads.setdefault(lane, raw)
            if raw.offset() in back:
                left.setdefault(lane, []).append(raw)
        for lane, head in heads.items():
            first, *others = left.get(lane) or [None]
            if first is None:
                self.release(head)
                continue
            if others:
                self._put_behind(lane, others)
            self.queued += len(others)
            due = back[first.offset()]
            if due is None:
                self.queued += 1
                self._make_ready(first)
            else:
                self.park(first, due, holds=True)
        return min((due for due in back.values() if due is not None), default=None)

    def _put_behind(self, lane: bytes | int, raws: Sequence[Any]) -> None:
        """These wait for this key, too, each before those of higher offsets."""
        assert isinstance(lane, bytes), "without a key nothing waits for anything"
        queue = self._lanes[lane]
        if queue and queue[0].offset() < raws[-1].offset():
            # several whose calls have failed late
            self._lanes[lane] = deque(sorted([*raws, *queue], key=lambda raw: int(raw.offset())))
        elif queue is None:
            self._lanes[lane] = deque(raws)
        else:
            queue.extendleft(reversed(raws))

    def park(self, raw: Any, due: float, *, holds: bool) -> None:
        heapq.heappush(self._parked, (due, raw.offset(), raw, holds))

    def unpark(self, now: float) -> bool:
        found = False
        while self._parked and self._parked[0][0] <= now:
            found = True
            _, _, raw, holds = heapq.heappop(self._parked)
            self.queued += 1
            if holds or not self._by_key or raw.key() is None:
                self._make_ready(raw)
            elif raw.key() in self._lanes:
                # its key went on without it (a send of its call was refused late): it comes next, never beside
                self._put_behind(raw.key(), [raw])
            else:
                self._lanes[raw.key()] = None
                self._make_ready(raw)
        return found

    @property
    def due(self) -> float | None:
        return self._parked[0][0] if self._parked else None

    @property
    def parked(self) -> int:
        return len(self._parked)

    def waiting(self, offsets: AbstractSet[int]) -> set[int]:
        found = set()
        for _, offset, raw, holds in self._parked:
            found.add(offset)
            if holds and self._by_key and raw.key() is not None:
                found.update(one.offset() for one in self._lanes[raw.key()] or ())
        return found & offsets

    def clear(self) -> None:
        self._ready.clear()
        self._lanes.clear()
        self._parked.clear()
        self.queued = 0
