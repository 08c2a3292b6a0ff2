"""The mover: lets delayed messages go when they are due, exactly once from topic to topic; one thread of each worker.

Any number of movers share the delay topics' partitions as one consumer group, without a leader. What is due in all of
them is moved by one transaction, a few times a second: the copies and the offsets of their sources appear together or
not at all. A mover that is killed leaves an open transaction, which its successor aborts when it takes over the id.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from elsa import headers as names
from elsa.clock import SYSTEM
from elsa.delays.brokerclock import BrokerClock
from elsa.delays.cancelled import CLOCK_KEY, Cancelled
from elsa.delays.ownership import Ownership
from elsa.delays.shelf import Shelf
from elsa.delays.targets import Targets
from elsa.delays.topics import delay_topics, undeliverable_topic
from elsa.errors import (
    AuthorizationFailed,
    ElsaError,
    FatalClientError,
    MessageTooLarge,
    TransactionAborted,
    TransactionFenced,
    UnknownPartition,
    UnknownTopic,
)
from elsa.kafka import codes
from elsa.kafka.consumer import BEGINNING, Committed, GroupConsumer
from elsa.kafka.events import Event, classify
from elsa.kafka.transactions import TransactionalProducer
from elsa.message import TopicPartition
from elsa.names import cancelled_topic
from elsa.policies import delay
from elsa.policies.backoff import Backoff
from elsa.policies.delay import TIERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from elsa.app import App
    from elsa.clock import Clock

log = logging.getLogger("elsa.delays")

#: longest wait for messages in one turn
POLL_SECONDS = 0.1
#: how often it is looked whether there are delayed messages at all
LOOK_SECONDS = 1.0
#: a transaction costs about 0.1 s whatever it holds, so they are not begun faster than that
PACE_SECONDS = 0.1
MOST_MESSAGES = 2_000
#: how long the broker may take for one step of a transaction
STEP_SECONDS = 10.0
#: what a killed mover's transaction may hide at most, if nobody takes its id over
TRANSACTION_SECONDS = 10.0
#: how often moved messages are deleted from the delay topics
TRIM_SECONDS = 60.0
TRIM_TIMEOUT_SECONDS = 3.0
#: how long a leave may take, and how long it is polled for after the partitions are gone
LEAVE_SECONDS = 1.0
LEAVE_GRACE_SECONDS = 0.1
#: what Kafka says of a message that it takes at no time
_REFUSED = frozenset(codes.MESSAGE.split())


class Mover:
    """`start` and `stop` may be called from any thread; everything else belongs to the mover's own."""

    def __init__(
        self,
        app: App,
        *,
        instance: str,
        is_static: bool = False,
        clock: Clock = SYSTEM,
        make_consumer: Callable[..., GroupConsumer] = GroupConsumer,
        make_producer: Callable[..., TransactionalProducer] = TransactionalProducer,
    ) -> None:
        self._app = app
        self._settings = app.settings
        self._instance = instance
        self._is_static = is_static
        self._clock = clock
        self._make_consumer = make_consumer
        self._make_producer = make_producer
        self.group = f"{app.name}.mover"
        self._seconds = dict(zip(delay_topics(app.name), TIERS, strict=True))
        self._stopping = threading.Event()
        self._leaves = True
        self._shelves: dict[TopicPartition, Shelf] = {}
        self._trimmed: dict[TopicPartition, int] = {}
        self._trims_at = 0.0
        self._moves_at = 0.0
        self._trouble: BaseException | None = None
        self._time = BrokerClock(clock)
        self._cancelled = Cancelled(app, clock)
        self._targets = Targets(app, clock)
        self._ownership = Ownership(app, self.group, self._seconds, clock)
        #: messages that their target has refused, by where they lie
        self._refused: dict[tuple[TopicPartition, int], ElsaError] = {}
        self._consumer: GroupConsumer
        self._producer: TransactionalProducer
        #: what was done with messages: delivered, passed on, cancelled, undeliverable
        self.counts = Counter[str]()
        self.is_ready = False
        self._thread = threading.Thread(target=self._main, name=f"elsa-mover-{app.name}", daemon=True)

    # -- from any thread -----------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, leave: bool = True) -> None:
        """Finish the transaction that is under way and end; `join` waits for that. Idempotent."""
        self._leaves = leave
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many delayed messages are held in memory."""
        return sum(len(shelf) for shelf in list(self._shelves.values()))

    # -- the thread ----------------------------------------------------------------------------------

    def _main(self) -> None:
        backoff = Backoff(first=0.5, most=30.0)
        while not self._stopping.is_set():
            try:
                if self._has_topics():
                    self._session(backoff)
                else:
                    self._stopping.wait(LOOK_SECONDS)
            except Exception as error:  # border: whatever breaks is made anew; what is not moved stays where it is
                if isinstance(error, TransactionFenced) or "fenced" in str(error).lower():
                    # another process has our id: it wins, and this one never comes back with it
                    self._instance = f"{self._instance}-{secrets.token_hex(3)}"
                pause = backoff.next()
                log.warning(
                    "the mover of delayed messages starts anew: %s",
                    str(error).splitlines()[0] if str(error) else type(error).__name__,
                    exc_info=None if isinstance(error, ElsaError) else error,
                    extra={"event": "mover_restart", "in_seconds": round(pause, 1), "limit": type(error).__name__},
                )
                self._stopping.wait(pause)

    def _has_topics(self) -> bool:
        """Whether anybody has ever put a message off; the topics are made by the first who does."""
        return self._app.topics.exists(next(iter(self._seconds)))

    def _session(self, backoff: Backoff) -> None:
        """One pair of clients, from their start to their end."""
        self._trouble = None
        self._shelves.clear()
        identity = f"{self._instance}-mover"
        throttled = self._app.observer.throttled
        self._producer = self._make_producer(
            self._settings, identity, timeout=TRANSACTION_SECONDS, on_throttled=throttled
        )
        self._consumer = self._make_consumer(
            self._settings,
            self.group,
            instance=identity if self._is_static else None,
            on_assign=self._guarded(self._assigned),
            on_revoke=self._guarded(self._given_up),
            on_lost=self._guarded(self._given_up),
            on_throttled=throttled,
        )
        try:
            # before anything is fetched: a predecessor's transaction must not come after ours
            self._producer.init(STEP_SECONDS * 3)
            self._cancelled.open()
            self._ask_time(3)
            self._consumer.subscribe(list(self._seconds))
            self._ownership.begin()
            while not self._stopping.is_set():
                self._turn()
                if self.is_ready:
                    backoff.reset()
                    self._mend()
            if self._leaves:
                self._leave()
        finally:
            self.is_ready = False
            self._consumer.close()
            self._cancelled.close()
            self._producer.close()

    def _turn(self) -> None:
        """Fetch, move what is due, let fetching wait where nothing is due soon."""
        self._cancelled.read()
        self._receive(self._consumer.poll(self._patience()))
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        now = self._clock.monotonic()
        if now >= self._moves_at:
            due = self._take_due()
            if due:
                self._moves_at = now + PACE_SECONDS
                self._move(due)
        self._steer()
        if now >= self._trims_at:
            self._trims_at = now + TRIM_SECONDS
            self._trim()
            self._ask_time(1)

    def _ask_time(self, times: int) -> None:
        """Learn the broker's time from the stamps of messages that mean nothing."""
        for _ in range(times):
            sent = self._clock.now()
            stamped = self._app.producer.send(cancelled_topic(self._app.name), None, key=CLOCK_KEY).result(STEP_SECONDS)
            if stamped.timestamp is not None:
                self._time.learn(sent, self._clock.now(), stamped.timestamp)

    def _patience(self) -> float:
        dues = [due for shelf in self._shelves.values() if (due := shelf.due) is not None]
        if not dues:
            return POLL_SECONDS
        pause = max(min(dues) - self._time.now(), self._moves_at - self._clock.monotonic())
        return max(0.0, min(POLL_SECONDS, pause))

    def _receive(self, raws: Sequence[Any]) -> None:
        for raw in raws:
            if raw.error() is not None:
                self._event(raw)
                continue
            shelf = self._shelves.get(TopicPartition(raw.topic(), raw.partition()))
            if shelf is not None:
                shelf.put([raw])

    def _event(self, raw: Any) -> None:
        kind = classify(raw)
        where = TopicPartition(raw.topic(), raw.partition())
        if kind == Event.REBUILD:
            raise FatalClientError(f"the Kafka client of the mover is beyond repair: {raw.error().str()}")
        if kind == Event.OUT_OF_RANGE and where in self._shelves:
            # deleted by somebody else, or the topic was made anew
            low, _ = self._consumer.watermarks(where, STEP_SECONDS)
            self._shelves[where] = Shelf(self._seconds[where.topic], low)
            self._consumer.reassign(where, low)

    def _take_due(self) -> list[tuple[TopicPartition, Any]]:
        now = self._time.now()
        found: list[tuple[TopicPartition, Any]] = []
        for where, shelf in self._shelves.items():
            found += [(where, raw) for raw in shelf.take(now, MOST_MESSAGES - len(found))]
        return found

    # -- moving --------------------------------------------------------------------------------------

    def _move(self, due: Sequence[tuple[TopicPartition, Any]]) -> None:
        """Let these go in one transaction; what is aborted goes back to its shelf."""
        try:
            self._transact(due)
        except TransactionAborted as error:
            # asked before the abort, which fails everything that is still in the buffer
            refused = {mark: failure for failure, mark in self._producer.failures() if _is_final(failure)}
            self._give_back(due)
            if error.code == "TOPIC_AUTHORIZATION_FAILED":
                self._targets.doubt()
            try:
                self._producer.abort(STEP_SECONDS)
            except FatalClientError as fatal:
                # of what was refused before anything else the broker knows no transaction: the first error says why
                raise FatalClientError(str(error), code=error.code) from fatal
            # a message that its target refuses must not hold the others up
            self._refused |= refused
            log.info("a transaction of the mover was aborted and is made again: %s", error, extra={"limit": "aborted"})
        except BaseException:
            self._give_back(due)
            raise

    def _transact(self, due: Sequence[tuple[TopicPartition, Any]]) -> None:
        producer = self._producer
        now = self._time.now()
        counts = Counter[str]()
        producer.begin()
        for where, raw in due:
            counts[self._pass_on(where, raw, now)] += 1
        commits = {where: Committed(raw.offset() + 1, "") for where, raw in due}
        producer.send_offsets(commits, self._consumer, STEP_SECONDS)
        producer.commit(STEP_SECONDS)
        for where, raw in due:
            self._refused.pop((where, raw.offset()), None)
        for where, commit in commits.items():
            if where in self._shelves:
                self._shelves[where].base = commit.offset
        self.counts += counts

    def _pass_on(self, where: TopicPartition, raw: Any, now: float) -> str:
        """Produce one message to where it goes next; what was done with it."""
        hop = delay.next_hop(raw.headers() or (), now=now, app=self._app.name)
        if hop is None:
            return self._bury(raw, "it does not say when and where it is to be delivered")
        refusal = self._refused.get((where, raw.offset()))
        if refusal is not None:
            return self._bury(raw, str(refusal))
        if hop.is_last and self._cancelled.has(raw.headers() or ()):
            return "cancelled"
        if hop.is_last and (missing := self._targets.missing(hop.topic, hop.partition)) is not None:
            return self._bury(raw, missing)
        self._producer.produce(
            hop.topic,
            raw.value(),
            key=raw.key(),
            headers=hop.headers,
            partition=hop.partition,
            mark=(where, raw.offset()),
        )
        return "delivered" if hop.is_last else "passed on"

    def _bury(self, raw: Any, why: str) -> str:
        """A message that cannot be delivered is kept with the reason, beside the delay topics."""
        log.warning(
            "a delayed message cannot be delivered and becomes a dead letter: %s",
            why.splitlines()[0],
            extra={"event": "undeliverable", "topic": raw.topic(), "offset": raw.offset(), "limit": why},
        )
        origin = f"{raw.topic()}:{raw.partition()}:{raw.offset()}"
        headers = names.without(raw.headers() or (), {names.REASON: None, names.ERROR_MESSAGE: None})
        headers += [(names.ORIGIN, origin.encode())] if names.text(headers, names.ORIGIN) is None else []
        headers += [(names.REASON, b"undeliverable"), (names.ERROR_MESSAGE, why.encode()[:512])]
        self._producer.produce(undeliverable_topic(self._app.name), raw.value(), key=raw.key(), headers=headers)
        return "undeliverable"

    def _give_back(self, due: Sequence[tuple[TopicPartition, Any]]) -> None:
        """In the order in which they were taken, partition by partition."""
        by_partition: dict[TopicPartition, list[Any]] = {}
        for where, raw in due:
            by_partition.setdefault(where, []).append(raw)
        for where, raws in by_partition.items():
            if where in self._shelves:
                self._shelves[where].give_back(raws)

    def _steer(self) -> None:
        now = self._time.now()
        pause: list[TopicPartition] = []
        resume: list[TopicPartition] = []
        for where, shelf in self._shelves.items():
            wanted = shelf.wants_pause(now)
            if wanted != shelf.is_paused:
                (pause if wanted else resume).append(where)
                shelf.is_paused = wanted
        if pause:
            self._consumer.pause(pause)
        if resume:
            self._consumer.resume(resume)

    def _trim(self) -> None:
        """Delete what has been moved: the topics keep nothing by themselves."""
        for where, shelf in self._shelves.items():
            if shelf.base > self._trimmed.get(where, 0):
                try:
                    before = {where.partition: shelf.base}
                    self._app.topics.delete_records(where.topic, before, timeout=TRIM_TIMEOUT_SECONDS)
                except ElsaError as error:  # an ACL is missing, or the broker is busy: it costs disk, not messages
                    log.info("moved messages were not deleted: %s", error, extra={"limit": f"trim {where.topic}"})
                else:
                    self._trimmed[where] = shelf.base

    # -- partitions come and go ----------------------------------------------------------------------

    def _guarded(self, callback: Callable[[list[TopicPartition]], None]) -> Callable[[list[TopicPartition]], None]:
        def run(partitions: list[TopicPartition]) -> None:
            try:
                callback(partitions)
            except BaseException as error:
                self._trouble = error

        return run

    def _assigned(self, partitions: list[TopicPartition]) -> None:
        committed = self._consumer.committed(partitions, STEP_SECONDS) if partitions else {}
        begins = {}
        for where in partitions:
            line = committed[where]
            begins[where] = BEGINNING if line is None else line.offset
            self._shelves[where] = Shelf(self._seconds[where.topic], 0 if line is None else line.offset)
        self._consumer.assign(begins)
        # a pause outlives its assignment in librdkafka
        self._consumer.resume(partitions)
        self.is_ready = True

    def _given_up(self, partitions: list[TopicPartition]) -> None:
        """No transaction is open here: they are begun and ended within one turn."""
        for where in partitions:
            self._shelves.pop(where, None)
            self._trimmed.pop(where, None)
        self._consumer.unassign(partitions)

    def _mend(self) -> None:
        """Join anew when nobody has some of the partitions."""
        if self._is_static and self._ownership.is_amiss():
            self._leave()
            self.is_ready = False
            self._consumer.subscribe(list(self._seconds))

    def _leave(self) -> None:
        """Leave the group, so that the others take over at once."""
        end = self._clock.monotonic() + LEAVE_SECONDS
        self._consumer.unsubscribe()
        while self._consumer.assigned() and self._clock.monotonic() < end:
            self._consumer.poll(0.02)
        grace = self._clock.monotonic() + LEAVE_GRACE_SECONDS
        while self._clock.monotonic() < grace:
            self._consumer.poll(0.02)


def _is_final(error: ElsaError) -> bool:
    """Whether the same message would be refused again."""
    if isinstance(error, MessageTooLarge | UnknownTopic | UnknownPartition | AuthorizationFailed):
        return True
    return getattr(error, "code", "") in _REFUSED
