"""Lets go what is due, in one transaction after the other; asked by the session in each turn.

What is aborted goes back to where it was taken from, and is made again. A message that its target refuses is found by
being moved alone, so that it holds up nobody for long.
"""

from __future__ import annotations

import heapq
import logging
from typing import TYPE_CHECKING, Any

from elsa.delays.cancelled import CLOCK_KEY
from elsa.delays.plan import DELIVERED, Planner, Refusals, outcomes
from elsa.delays.targets import Targets
from elsa.errors import ElsaError, FatalClientError, KafkaError, TransactionAborted, name_of
from elsa.kafka import codes
from elsa.kafka.consumer import Committed
from elsa.policies.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from elsa.delays.brokerclock import BrokerClock
    from elsa.delays.cancelled import Cancelled
    from elsa.delays.plan import Due, Move
    from elsa.delays.session import Surroundings
    from elsa.delays.shelf import Shelf
    from elsa.kafka.consumer import GroupConsumer
    from elsa.kafka.transactions import TransactionalProducer
    from elsa.message import TopicPartition

log = logging.getLogger("elsa.delays")

#: a transaction costs about 0.1 s whatever it holds, so they are not begun faster than that
PACE_SECONDS = 0.1
#: what one transaction holds at most
MOST_MESSAGES = 4_000
MOST_TRANSACTION_BYTES = 8 * 1024 * 1024
#: how long the broker may take for one step of a transaction
STEP_SECONDS = 10.0
#: longest pause after transactions that were aborted
MOST_PAUSE_SECONDS = 5.0

#: how long a topic is left alone of which the producer's broker has not heard, or not of all its partitions
UNHEARD_SECONDS = 1.0

#: errors of a message that would be refused again
_FINAL = frozenset(f"{codes.MESSAGE} TOPIC_AUTHORIZATION_FAILED TOPIC_EXCEPTION".split())
#: What is asked for before each transaction knows better than the client: it remembers topics for minutes, and a broker
#: that has just come back may not know all that is new.
_UNHEARD = frozenset(f"{codes.UNKNOWN_TOPIC} _UNKNOWN_PARTITION".split())


class Dispatch:
    """Takes from the session's shelves; every method belongs to the mover's thread."""

    def __init__(
        self, around: Surroundings, shelves: Mapping[TopicPartition, Shelf], time: BrokerClock, cancelled: Cancelled
    ) -> None:
        self._clock = around.clock
        self._observer = around.observer
        self._shelves = shelves
        self._own = frozenset(around.seconds)
        self._time = time
        self._cancelled = cancelled
        self._targets = Targets(around.topics, around.clock)
        self._refusals = Refusals()
        self._planner = Planner(around.settings.name, cancelled, self._targets, self._refusals)
        self._backoff = Backoff(first=PACE_SECONDS * 2, most=MOST_PAUSE_SECONDS)
        self._was_alone = False
        self._take_over: Callable[[], None] | None = None
        self._producer: TransactionalProducer | None = None
        #: the next transaction begins not before
        self.at = 0.0

    def open(self, producer: TransactionalProducer, take_over: Callable[[], None]) -> None:
        """Whose transactions they are; `take_over` has its `init` called."""
        self._producer = producer
        self._take_over = take_over
        take_over()

    @property
    def producer(self) -> TransactionalProducer:
        assert self._producer is not None
        return self._producer

    def run(self, consumer: GroupConsumer) -> None:
        """Let go what is due now, if there is anything and the last time is long enough ago."""
        now = self._clock.monotonic()
        if now >= self.at and self._cancelled.is_complete and (due := self._take_due()):
            self.at = now + PACE_SECONDS
            self._move(due, consumer)

    def forget(self, where: TopicPartition) -> None:
        """The partition is somebody else's now."""
        self._refusals.forget(where)

    def _take_due(self) -> list[Due]:
        """What is longest due in all partitions, as much as one transaction may hold."""
        now = self._time.now()
        suspects = self._refusals.suspects
        if suspects and not self._was_alone:
            for where, shelf in self._shelves.items():
                first = shelf.first(now)
                if first is not None and (where, first.offset()) in suspects:
                    self._was_alone = True
                    return [(where, raw) for raw in shelf.take(now, 1)]
        # in between the others
        self._was_alone = False
        found: list[Due] = []
        size = 0
        ready = [(due, w) for w, s in self._shelves.items() if s.parked is None and (due := s.due) is not None]
        heapq.heapify(ready)
        while ready and len(found) < MOST_MESSAGES and size < MOST_TRANSACTION_BYTES:
            due, where = heapq.heappop(ready)
            if due > now:
                break
            shelf = self._shelves[where]
            # up to where another partition's first message comes before
            until = min(now, ready[0][0]) if ready else now
            stops = self._refusals.offsets(where) if suspects else ()
            before = shelf.size
            raws = shelf.take(until, min(100, MOST_MESSAGES - len(found)), stops)
            size += before - shelf.size
            found += [(where, raw) for raw in raws]
            if raws and (due_next := shelf.due) is not None:
                heapq.heappush(ready, (due_next, where))
        return found

    def _move(self, due: Sequence[Due], consumer: GroupConsumer) -> None:
        """Let these go in one transaction; what is aborted goes back to its shelf."""
        try:
            moves = self._planner.plan(due, self._time.now())
        except KafkaError as error:
            self._give_back(due)
            self._pause("the targets of delayed messages could not be looked up", error)
            return
        if not self._cancelled.is_complete:
            # its topic has grown: what was cancelled there is read first
            self._give_back(due)
            return
        try:
            self._transact(moves, consumer)
        except TransactionAborted as error:
            # asked before the abort, which fails everything that is still in the buffer
            failures = self.producer.failures()
            try:
                may_begin = self.producer.recover(STEP_SECONDS)
            except FatalClientError as fatal:
                # of what was refused before anything else the broker knows no transaction: the first error says why
                raise FatalClientError(str(error), code=error.code) from fatal
            self._give_back(due)
            self._blame(moves, failures)
            self._go_on(may_begin=may_begin)
            self._pause("a transaction of the mover was aborted and is made again", error)
        else:
            self._settle(moves)

    def _transact(self, moves: Sequence[Move], consumer: GroupConsumer) -> None:
        producer = self.producer
        began = self._clock.monotonic()
        producer.begin()
        for move in moves:
            if move.topic is not None:
                producer.produce(
                    move.topic,
                    move.raw.value() if move.has_body else None,
                    key=move.raw.key(),
                    headers=move.headers,
                    partition=move.partition,
                    mark=move.mark,
                )
        commits = {move.where: Committed(move.raw.offset() + 1, "") for move in moves}
        proof = consumer.proof()
        if proof is None:
            raise TransactionAborted("the mover is between two memberships of its group", code="UNKNOWN_MEMBER_ID")
        producer.send_offsets(commits, proof, STEP_SECONDS)
        producer.commit(STEP_SECONDS)
        self._learn(began)

    def _settle(self, moves: Sequence[Move]) -> None:
        """It happened."""
        self._backoff.reset()
        self._refusals.settled(moves)
        for move in moves:
            self._shelves[move.where].base = move.raw.offset() + 1
        now = self._time.now()
        late = [max(0.0, now - move.due) for move in moves if move.outcome == DELIVERED and move.due is not None]
        self._observer.moved(outcomes(moves), late)

    def _give_back(self, due: Sequence[Due]) -> None:
        """In the order in which they were taken, partition by partition."""
        by_partition: dict[TopicPartition, list[Any]] = {}
        for where, raw in due:
            by_partition.setdefault(where, []).append(raw)
        for where, raws in by_partition.items():
            self._shelves[where].give_back(raws)

    def _blame(self, moves: Sequence[Move], failures: Sequence[tuple[ElsaError, Any]]) -> None:
        """A message that its target refuses must not hold the others up."""
        self._targets.forget()
        by_mark = {move.mark: move for move in moves}
        for error, mark in failures:
            move = by_mark.get(mark)
            if move is None or move.topic is None:
                continue
            code = getattr(error, "code", "")
            if code in _UNHEARD:
                if move.topic in self._own:
                    # the next session looks whether the delay topics are there, and makes what is missing
                    raise error
                self._targets.avoid(move.topic, str(error).splitlines()[0], UNHEARD_SECONDS)
            elif code in _FINAL:
                self._refusals.suspect(mark)
                if len(moves) == 1:
                    self._refusals.convict(move, error)
            elif isinstance(error, KafkaError) and error.retryable:
                self._targets.avoid(move.topic, str(error).splitlines()[0])

    def _go_on(self, *, may_begin: bool) -> None:
        if not may_begin and self._take_over is not None:
            self._take_over()

    def _pause(self, what: str, error: ElsaError) -> None:
        pause = self._backoff.next()
        self.at = self._clock.monotonic() + pause
        code = name_of(error)
        self._observer.aborted(code)
        log.info(
            "%s: %s",
            what,
            str(error).splitlines()[0],
            extra={"event": "mover_aborted", "in_seconds": round(pause, 1), "limit": ("aborted", code)},
        )

    # -- time ------------------------------------------------------------------------------------------

    def ask_time(self) -> None:
        """Learn the broker's time from the stamp of a message that means nothing."""
        producer = self.producer
        began = self._clock.monotonic()
        try:
            producer.begin()
            producer.produce(self._cancelled.topic, None, key=CLOCK_KEY)
            producer.commit(STEP_SECONDS)
        except TransactionAborted as error:
            self._go_on(may_begin=producer.recover(STEP_SECONDS))
            self._pause("the broker's time could not be asked for, this machine's has to do", error)
            self._time.assume()
        else:
            self._learn(began)

    def _learn(self, began: float) -> None:
        """The stamps of a transaction that is over."""
        stamped = self.producer.stamped
        if stamped is not None:
            self._time.learn(*stamped, sent=began)
