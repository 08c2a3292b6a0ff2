"""One pair of clients of the mover, from their start to their end: fetches, lets go, hands over. Driven by the mover.

`open`, then `turn` again and again, then `close`. What is raised ends the session: the next one begins with new clients
at what is committed, so nothing is moved twice or forgotten.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elsa.delays.brokerclock import BrokerClock
from elsa.delays.cancelled import Cancelled
from elsa.delays.dispatch import STEP_SECONDS, Dispatch
from elsa.delays.owners import Owners
from elsa.delays.shelf import MOST_BYTES, Shelf
from elsa.delays.trimming import Trimming
from elsa.errors import BrokerUnavailable, ElsaError, FatalClientError, KafkaError, name_of
from elsa.kafka.consumer import BEGINNING, GroupConsumer
from elsa.kafka.errors import facts_of
from elsa.kafka.events import Event, classify, event_error
from elsa.kafka.transactions import TransactionalProducer, take_over
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from elsa.clock import Clock
    from elsa.config import Settings
    from elsa.kafka.consumer import Committed
    from elsa.observer import GroupObserver, MoverObserver
    from elsa.topics import Topics

log = logging.getLogger("elsa.delays")

#: longest wait for messages in one turn
POLL_SECONDS = 0.1
#: what a killed mover's transaction may hide at most, if nobody takes its id over
TRANSACTION_SECONDS = 10.0
#: what may keep a stop waiting while no broker answers
PATIENCE_SECONDS = 1.0
#: how often it is asked whether a predecessor's transaction is over
ARRIVAL_SECONDS = 0.5
#: How long the answer may take, the first time and at most. While a transaction is open there is none, and the others
#: wait meanwhile; a broker that is slow gets more.
ANSWER_SECONDS = 0.1
MOST_ANSWER_SECONDS = 2.0
#: how often the broker's time is asked for where nothing else tells it
CLOCK_SECONDS = 60.0
#: how often moved messages are deleted from the delay topics, and the counts of their partitions compared
TRIM_SECONDS = 60.0
#: how long the end may wait for moved messages to be deleted
LAST_TRIM_SECONDS = 3.0
#: how long a leave may take, and how long it is polled for after the partitions are gone
LEAVE_SECONDS = 1.0
LEAVE_GRACE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of a mover share."""

    settings: Settings
    group: str
    #: the delay topics and how many seconds a message stays in each
    seconds: Mapping[str, int]
    clock: Clock
    topics: Topics
    #: partitions of the group's topics that a member has, None while nobody knows
    owned: Callable[[str], set[TopicPartition] | None]
    is_stopping: Callable[[], bool]
    #: told by what waits for long within a turn that the thread goes on
    polled: Callable[[], None]
    group_observer: GroupObserver
    observer: MoverObserver
    on_throttled: Callable[[str, str, float], None]
    make_consumer: Callable[..., GroupConsumer] = GroupConsumer
    make_producer: Callable[..., TransactionalProducer] = TransactionalProducer


class Session:
    """Every method belongs to the mover's thread; `identity` is a static member's when `is_static`."""

    def __init__(self, around: Surroundings, identity: str, *, is_static: bool, partitions: Mapping[str, int]) -> None:
        self._around = around
        self._identity = identity
        self._is_static = is_static
        self._owners = Owners(around, partitions, is_static=is_static)
        self._clock = around.clock
        self.shelves: dict[TopicPartition, Shelf] = {}
        #: assigned partitions on whose offsets a predecessor's transaction still hangs
        self._arriving: deque[TopicPartition] = deque()
        self._arrives_at = 0.0
        self._answers_in = ANSWER_SECONDS
        self._trims_at = 0.0
        self._polled_at = 0.0
        self._trouble: BaseException | None = None
        self.time = BrokerClock(around.clock)
        self._cancelled = Cancelled(around.settings, around.clock, around.make_consumer)
        self._dispatch = Dispatch(around, self.shelves, self.time, self._cancelled)
        self._trimming = Trimming(around.topics, facts_of(around.settings))
        #: the group has given us something to do, or said that there is nothing
        self.is_ready = False
        #: another member has this identity now
        self.was_fenced = False
        self._producer: TransactionalProducer | None = None
        self._consumer: GroupConsumer | None = None

    @property
    def consumer(self) -> GroupConsumer:
        assert self._consumer is not None
        return self._consumer

    # -- begin and end ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the transactional id over, read the cancellations, join the group; a stop cuts it short."""
        around = self._around
        # before anything is fetched: a predecessor's transaction must not come after ours
        self._producer = producer = around.make_producer(
            around.settings, self._identity, timeout=TRANSACTION_SECONDS, on_throttled=around.on_throttled
        )
        self._dispatch.open(producer, lambda: self._take_over(producer))
        self._cancelled.open(self._owners.partitions[self._cancelled.topic])
        while not self._cancelled.is_complete and not around.is_stopping():
            around.polled()
            self._cancelled.read(POLL_SECONDS)
        if around.is_stopping():
            return
        self._dispatch.ask_time()
        self._consumer = around.make_consumer(
            around.settings,
            around.group,
            instance=self._identity if self._is_static else None,
            on_assign=self._guarded(self._assigned),
            on_revoke=self._guarded(self._revoked),
            on_lost=self._guarded(self._lost),
            on_error=self._error,
            on_statistics=around.group_observer.statistics,
            on_throttled=around.on_throttled,
        )
        self._consumer.subscribe(list(around.seconds))
        self._trims_at = self._clock.monotonic() + TRIM_SECONDS

    def _take_over(self, producer: TransactionalProducer) -> None:
        def waits(error: BrokerUnavailable) -> None:
            log.info(
                "the mover of delayed messages waits for a broker: %s",
                str(error).splitlines()[0],
                extra={"event": "mover_waits", "limit": "mover waits"},
            )

        around = self._around
        take_over(producer, PATIENCE_SECONDS, is_stopping=around.is_stopping, polled=around.polled, waits=waits)

    def close(self, *, leave: bool) -> None:
        """Hand everything over, to others at once if `leave`; a dynamic member always leaves."""
        self.is_ready = False
        try:
            if self._around.is_stopping():
                self._trimming.finish(self._moved(), LAST_TRIM_SECONDS)
            if self._consumer is not None and (leave or not self._is_static):
                self._leave()
        finally:
            for client in (self._consumer, self._cancelled, self._producer):
                if client is not None:
                    client.close()
            self._consumer = self._producer = None

    def _leave(self) -> None:
        """`close` alone does not leave, and `unsubscribe` needs to be polled until the leave is sent."""
        consumer = self.consumer
        end = self._clock.monotonic() + LEAVE_SECONDS
        consumer.unsubscribe()
        while consumer.assigned() and self._clock.monotonic() < end:
            # what comes now must not be missing if the partitions stay with us after all
            self._receive(consumer.poll(0.02))
        grace = self._clock.monotonic() + LEAVE_GRACE_SECONDS
        while self._clock.monotonic() < grace:
            self._receive(consumer.poll(0.02))

    # -- one turn --------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Fetch, let go what is due, let fetching wait where nothing is due soon."""
        self._cancelled.read()
        self._receive(self.consumer.poll(self._patience()))
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        if self._arriving:
            self._arrive()
        self._dispatch.run(self.consumer)
        self._steer()
        self._chores(self._clock.monotonic())

    def _patience(self) -> float:
        dues = [due for shelf in self.shelves.values() if shelf.parked is None and (due := shelf.due) is not None]
        if not dues:
            return POLL_SECONDS
        pause = max(min(dues) - self.time.now(), self._dispatch.at - self._clock.monotonic())
        return max(0.0, min(POLL_SECONDS, pause))

    def _receive(self, raws: Sequence[Any]) -> None:
        by_partition: dict[TopicPartition, list[Any]] = {}
        newest = 0
        for raw in raws:
            if raw.error() is not None:
                self._event(raw)
                continue
            newest = max(newest, raw.timestamp()[1])
            by_partition.setdefault(TopicPartition(raw.topic(), raw.partition()), []).append(raw)
        if newest:
            self.time.learn(newest / 1000, self._clock.monotonic())
        for where, slice_ in by_partition.items():
            shelf = self.shelves.get(where)
            if shelf is not None and not shelf.put(slice_):
                self._find(where, shelf)

    def _find(self, where: TopicPartition, shelf: Shelf) -> None:
        """A message that was left in the log did not come: fetch it again, unless it was deleted."""
        assert shelf.awaited is not None
        low, _ = self.consumer.watermarks(where, STEP_SECONDS)
        if low > shelf.awaited:
            self._tell_deleted(where)
            shelf.skip()
        self.consumer.reassign(where, max(low, shelf.awaited or low))

    def _tell_deleted(self, where: TopicPartition) -> None:
        log.warning(
            "delayed messages were deleted by somebody else: what is left is moved",
            extra={"event": "delay_deleted", "topic": where.topic, "partition": where.partition},
        )

    def _event(self, raw: Any) -> None:
        kind = classify(raw)
        where = TopicPartition(raw.topic(), raw.partition())
        if kind == Event.REBUILD:
            raise FatalClientError(f"the Kafka client of the mover is beyond repair: {raw.error().str()}")
        if kind == Event.OUT_OF_RANGE and where in self.shelves:
            self._tell_deleted(where)
            self.shelves[where] = Shelf(self._around.seconds[where.topic], None)
            self.consumer.reassign(where, BEGINNING)
            self.consumer.resume([where])
        elif kind in (Event.WAITING, Event.REFUSED, Event.PASSING):
            # what is refused is waited for as well: the worker has other work to do
            self._report(raw)

    def _report(self, raw: Any) -> None:
        """Say the same trouble once a minute, count it always."""
        code, topic = raw.error().name(), raw.topic()
        text = str(event_error(raw, self._around.settings, self._around.group))
        self._around.group_observer.error(code, text)
        log.warning(
            "delayed messages cannot be read: %s",
            text,
            extra={"event": "delay_unreadable", "topic": topic, "code": code, "limit": (topic, code)},
        )

    def _steer(self) -> None:
        """Fetch where something may be due soon, and only as much as there is room for."""
        now = self.time.now()
        share = MOST_BYTES // max(1, len(self.shelves))
        pause: list[TopicPartition] = []
        resume: list[TopicPartition] = []
        for where, shelf in self.shelves.items():
            if shelf.is_far(now):
                if shelf.parked is None:
                    shelf.park()
                wanted = True
            else:
                if shelf.parked is not None:
                    self.consumer.reassign(where, shelf.wake())
                wanted = shelf.is_full(share)
            if wanted != shelf.is_paused:
                (pause if wanted else resume).append(where)
                shelf.is_paused = wanted
        if pause:
            self.consumer.pause(pause)
        if resume:
            self.consumer.resume(resume)

    def _chores(self, now: float) -> None:
        if now >= self._polled_at + POLL_SECONDS:
            self._polled_at = now
            self._around.group_observer.polled(now)
            broker_now = self.time.now()
            self._around.observer.due(sum(shelf.count_due(broker_now) for shelf in self.shelves.values()))
        if self.time.age > CLOCK_SECONDS and now >= self._dispatch.at:
            self._dispatch.ask_time()
        if self._owners.are_missing(now):
            self._leave()
            self.consumer.subscribe(list(self._around.seconds))
        if now >= self._trims_at:
            self._trims_at = now + TRIM_SECONDS
            self._owners.compare(now)
            self._trimming.run(self._moved())

    def _moved(self) -> dict[TopicPartition, int]:
        """Everything below these offsets is moved."""
        return {where: shelf.base for where, shelf in self.shelves.items() if shelf.base is not None}

    # -- partitions come and go ------------------------------------------------------------------------

    def _guarded(self, callback: Callable[[list[TopicPartition]], None]) -> Callable[[list[TopicPartition]], None]:
        def run(partitions: list[TopicPartition]) -> None:
            try:
                callback(partitions)
            except BaseException as error:
                self._trouble = error

        return run

    def _error(self, error: ElsaError) -> None:
        code = name_of(error)
        if "FENCED_INSTANCE_ID" in (code, *str(error).replace("(", " ").replace(")", " ").split()):
            self.was_fenced = True
        self._around.group_observer.error(code, str(error))

    def _assigned(self, partitions: list[TopicPartition]) -> None:
        """Begin where the group has committed; where a transaction may still commit, wait for its end."""
        try:
            known = self.consumer.settled(partitions, 2 * ARRIVAL_SECONDS) if partitions else {}
        except KafkaError as error:
            if not error.retryable:
                raise
            known = {}
        rest = [where for where in partitions if where not in known]
        begins = {where: BEGINNING if line is None else line.offset for where, line in known.items()}
        self.consumer.assign(begins | dict.fromkeys(rest, BEGINNING))
        if rest:
            self.consumer.pause(rest)
        self._arriving.extend(rest)
        self._answers_in = ANSWER_SECONDS
        self._arrives_at = self._clock.monotonic() + ARRIVAL_SECONDS
        self._begin(known)
        self.is_ready = True
        self._owners.look_soon(self._clock.monotonic())
        self._around.group_observer.assigned(partitions)

    def _begin(self, known: Mapping[TopicPartition, Committed | None]) -> None:
        for where, line in known.items():
            self.shelves[where] = Shelf(self._around.seconds[where.topic], None if line is None else line.offset)
        if known:
            # a pause outlives its assignment in librdkafka
            self.consumer.resume(list(known))

    def _arrive(self) -> None:
        """Begin with those whose predecessor's transaction is over."""
        now = self._clock.monotonic()
        if now < self._arrives_at:
            return
        self._arrives_at = now + ARRIVAL_SECONDS
        for _ in range(len(self._arriving)):
            # one by one: one that has to wait must not hold the others
            where = self._arriving[0]
            self._arriving.rotate(-1)
            try:
                known = self.consumer.settled([where], self._answers_in)
            except KafkaError as error:
                if not error.retryable:
                    raise
                self._answers_in = min(self._answers_in * 2, MOST_ANSWER_SECONDS)
                return
            if where in known:
                line = known[where]
                self._arriving.remove(where)
                self.consumer.reassign(where, BEGINNING if line is None else line.offset)
                self._begin(known)

    def _revoked(self, partitions: list[TopicPartition]) -> None:
        """No transaction is open here: they are begun and ended within one turn."""
        began = self._clock.monotonic()
        self._give_up(partitions)
        self._around.group_observer.revoked(partitions, self._clock.monotonic() - began)

    def _lost(self, partitions: list[TopicPartition]) -> None:
        self._give_up(partitions)
        self._around.group_observer.lost(partitions)

    def _give_up(self, partitions: list[TopicPartition]) -> None:
        for where in partitions:
            self.shelves.pop(where, None)
            self._trimming.forget(where)
            self._dispatch.forget(where)
        self._arriving = deque(where for where in self._arriving if where not in partitions)
        self.consumer.unassign(partitions)
