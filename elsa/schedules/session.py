"""One membership of a scheduler: a consumer that has some shards, and a producer that fires them.

What is sent and what is remembered of it go in one transaction. The offsets of that transaction are the shards' own, so
the broker takes it only from who owns them: a scheduler that was away for a while, and does not know yet that others
have taken over, is refused. What an open transaction would change cannot be read by its successor, who waits for its
end.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elsa.errors import BrokerUnavailable, ElsaError, FatalClientError, KafkaError, TransactionAborted, name_of
from elsa.kafka.consumer import Committed
from elsa.kafka.events import Event, classify, event_error
from elsa.kafka.transactions import is_verdict, take_over
from elsa.message import TopicPartition
from elsa.names import schedules_topic
from elsa.policies.schedule import moment
from elsa.schedules.inheritance import inherit
from elsa.schedules.shard import MOST_FIRES
from elsa.trails import Trails

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.kafka.consumer import GroupConsumer
    from elsa.kafka.membership import Proof
    from elsa.kafka.transactions import TransactionalProducer
    from elsa.observer import GroupObserver, ScheduleObserver
    from elsa.schedules.declared import Schedule
    from elsa.schedules.shard import Plan, Shard

log = logging.getLogger("elsa.schedules")

POLL_SECONDS = 0.1
#: a transaction costs about that much, so they are not begun faster
PACE_SECONDS = 0.1
#: how long the broker may take for one step of a transaction
STEP_SECONDS = 10.0
#: what may keep a stop waiting while no broker answers
PATIENCE_SECONDS = 1.0
#: what a killed scheduler's transaction may hold up, if nobody takes its id over
TRANSACTION_SECONDS = 10.0
#: how often it is looked whether a predecessor's transaction is over
ARRIVAL_SECONDS = 0.5
#: what could not be sent is tried again after that time
HOLD_SECONDS = 2.0
#: after several messages were refused together, so many transactions send theirs one by one
CAREFUL = 20
#: a topic that is there is not asked for again before that time
KNOWN_SECONDS = 30.0
LEAVE_SECONDS = 1.0
LEAVE_GRACE_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all sessions of one scheduler share."""

    app: App
    schedules: tuple[Schedule, ...]
    group: str
    clock: Clock
    is_stopping: Callable[[], bool]
    #: told by what waits for long within a turn that the thread goes on
    polled: Callable[[], None]
    group_observer: GroupObserver
    observers: Mapping[str, ScheduleObserver]
    make_consumer: Callable[..., GroupConsumer]
    make_producer: Callable[..., TransactionalProducer]


class Session:
    """`open`, then `turn` again and again, then `close`; all of it in the scheduler's thread."""

    def __init__(self, around: Surroundings, identity: str, *, is_static: bool) -> None:
        self._around = around
        self._clock = around.clock
        self._topic = schedules_topic(around.app.name)
        self.shards: dict[int, Shard] = {}
        self._arriving: set[int] = set()
        self._arrives_at = 0.0
        self._fires_at = 0.0
        #: schedules that are not tried before a time (monotonic)
        self._held: dict[str, float] = {}
        #: topics that exist, and until when that is believed
        self._topics: dict[str, float] = {}
        self._trouble: BaseException | None = None
        self.is_ready = False
        self._trails = Trails(around.app.observer.trace_send)
        #: so many transactions send their messages one by one
        self._careful = 0
        self._producer = around.make_producer(around.app.settings, identity, timeout=TRANSACTION_SECONDS)
        self._consumer = around.make_consumer(
            around.app.settings,
            around.group,
            instance=identity if is_static else None,
            on_assign=self._guarded(self._assigned),
            on_revoke=self._guarded(self._revoked),
            on_lost=self._guarded(self._lost),
            on_error=self._error,
        )

    def open(self) -> None:
        # first of all: what a predecessor of the same id has begun must not come after what we read
        self._take_over()
        if not self._around.is_stopping():
            self._consumer.subscribe([self._topic])

    def _take_over(self) -> None:
        def waits(error: BrokerUnavailable) -> None:
            log.info(
                "the scheduler waits for a broker: %s",
                str(error).splitlines()[0],
                extra={"event": "scheduler_waits", "limit": "scheduler waits"},
            )

        around = self._around
        take_over(self._producer, PATIENCE_SECONDS, is_stopping=around.is_stopping, polled=around.polled, waits=waits)

    def turn(self) -> None:
        """Hear of partitions that come and go, and fire what is due in those that are here."""
        for raw in self._consumer.poll(self._patience()):
            if raw.error() is not None:
                self._event(raw)
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        self._arrive()
        now = moment(self._clock.now())
        if self._clock.monotonic() < self._fires_at or all(shard.next > now for shard in self.shards.values()):
            return
        # from before the look at what is due: what changes afterwards makes the broker refuse
        proof = self._consumer.proof()
        if proof is not None and (plans := self._plans(now)):
            self._fires_at = self._clock.monotonic() + PACE_SECONDS
            self._fire(plans, proof)

    def _event(self, raw: Any) -> None:
        kind = classify(raw)
        if kind == Event.REBUILD:
            raise FatalClientError(f"the Kafka client of the scheduler is beyond repair: {raw.error().str()}")
        error = event_error(raw, self._around.app.settings, self._around.group)
        if kind == Event.WAITING:
            # the topic was deleted: who begins a session makes it anew, or says what is missing
            raise error
        if kind in (Event.REFUSED, Event.PASSING):
            # waited for: the worker has other work to do
            self._error(error)
            code = raw.error().name()
            log.warning(
                "periodic tasks do not fire here: %s",
                error,
                extra={"event": "schedules_refused", "code": code, "limit": code},
            )

    def close(self, *, leave: bool) -> None:
        self.is_ready = False
        # of a transaction that nobody knows the end of
        self._trails.end(TransactionAborted("the scheduler's membership has ended", code="_GIVEN_UP"))
        try:
            if leave:
                self._leave()
            self._release(list(self.shards))
            self._consumer.close()
        finally:
            self._producer.close()

    def _patience(self) -> float:
        waiting = min((shard.next for shard in self.shards.values()), default=None)
        if waiting is None or self._held:
            return POLL_SECONDS
        pause = max(waiting / 1000 - self._clock.now(), self._fires_at - self._clock.monotonic())
        return max(0.0, min(POLL_SECONDS, pause))

    # -- firing --------------------------------------------------------------------------------------

    def _plans(self, now: int) -> dict[int, Plan]:
        until = self._clock.monotonic()
        self._held = {name: at for name, at in self._held.items() if at > until}
        found = {}
        for number, shard in self.shards.items():
            if shard.next <= now and (plan := self._sendable(shard, now)) is not None:
                found[number] = plan
        return found

    def _sendable(self, shard: Shard, now: int) -> Plan | None:
        """A plan without those whose topic is missing: a transaction would hang on it."""
        most = 1 if self._careful else MOST_FIRES
        plan = shard.plan(now, self._held, most)
        obstacles = {one: why for one, _ in plan.fires if (why := self._obstacle(one))} if plan is not None else {}
        if plan is None or not obstacles:
            return plan
        for schedule, why in obstacles.items():
            self._hold(schedule, plan, why)
        return shard.plan(now, self._held, most)

    def _obstacle(self, schedule: Schedule) -> str | None:
        """Why the schedule's topic takes nothing, None when it does; made where the settings say so."""
        topic, app = schedule.task.topic, self._around.app
        if self._topics.get(topic, 0.0) > self._clock.monotonic():
            return None
        try:
            if not app.topics.exists(topic):
                if not app.settings.creates_topics:
                    return f"topic {topic!r} does not exist"
                app.create_declared(topic, schedule.task.declared)
        except KafkaError as error:
            if error.retryable:
                raise
            return str(error).splitlines()[0]
        self._topics[topic] = self._clock.monotonic() + KNOWN_SECONDS
        return None

    def _hold(self, schedule: Schedule, plan: Plan, why: str) -> None:
        # each of them may cost a transaction whenever its time is over: the others have to come in between
        self._held[schedule.name] = self._clock.monotonic() + HOLD_SECONDS * max(1, len(self._held))
        self._topics.pop(schedule.task.topic, None)
        self._around.observers[schedule.name].held(sum(one is schedule for one, _ in plan.fires))
        log.warning(
            "the calls of schedule %s are not sent, they wait up to its misfire limit: %s",
            schedule.name,
            why,
            extra={
                "event": "schedule_held",
                "schedule": schedule.name,
                "topic": schedule.task.topic,
                "limit": ("held", schedule.name),
            },
        )

    def _fire(self, plans: Mapping[int, Plan], proof: Proof) -> None:
        """Send and remember all of it in one transaction, or nothing."""
        is_careful, self._careful = self._careful > 0, max(0, self._careful - 1)
        try:
            self._transact(plans, proof, is_careful=is_careful)
        except TransactionAborted as error:
            # asked before the abort, which fails everything that is still in the buffer
            failures = self._producer.failures()
            self._abort(plans, error)
            verdicts = [(schedule, why) for why, schedule in failures if is_verdict(why)]
            if is_careful:
                # what was sent before was confirmed
                final = {schedule: error for why, schedule in failures if not why.retryable}
                self._blame(plans, final | dict(verdicts))
            elif len(verdicts) == 1:
                self._blame(plans, dict(verdicts))
            elif failures:
                # a broker refuses all that comes in one request: the next time it will be known which
                self._careful = CAREFUL
        else:
            self._settle(plans)

    def _transact(self, plans: Mapping[int, Plan], proof: Proof, *, is_careful: bool) -> None:
        producer = self._producer
        end = self._clock.monotonic() + STEP_SECONDS
        producer.begin()
        for plan in plans.values():
            for schedule, at in plan.fires:
                topic = schedule.task.topic
                headers, delivered = self._trails.begin(topic, schedule.message(at))
                producer.produce(topic, schedule.body, key=None, headers=headers, mark=schedule, delivered=delivered)
                if is_careful:
                    producer.flush(max(0.1, end - self._clock.monotonic()))
        # the offset says nothing: the topic is empty
        commits = {TopicPartition(self._topic, number): Committed(0, p.metadata) for number, p in plans.items()}
        producer.send_offsets(commits, proof, STEP_SECONDS)
        producer.commit(STEP_SECONDS)
        self._trails.end()

    def _abort(self, plans: Mapping[int, Plan], error: TransactionAborted) -> None:
        """Make sure that nothing of it is left open."""
        self._trails.end(error)
        log.info("a transaction of the scheduler was aborted and is made again: %s", error, extra={"limit": "aborted"})
        # what was decided is what the broker has: it is asked again
        for number in plans:
            self.shards.pop(number, None)
            self._arriving.add(number)
        if not self._producer.recover(STEP_SECONDS, (TransactionAborted, FatalClientError, BrokerUnavailable)):
            self._take_over()

    def _blame(self, plans: Mapping[int, Plan], refused: Mapping[Schedule, ElsaError]) -> None:
        for schedule, why in refused.items():
            self._hold(schedule, plans[schedule.shard], str(why).splitlines()[0])

    def _settle(self, plans: Mapping[int, Plan]) -> None:
        now = self._clock.now()
        for number, plan in plans.items():
            self.shards[number].settle(plan)
            late: dict[str, list[float]] = {}
            for schedule, at in plan.fires:
                late.setdefault(schedule.name, []).append(max(0.0, now - at / 1000))
            for schedule, count in plan.missed:
                self._miss(schedule, count)
            for name, delays in late.items():
                self._around.observers[name].fired(delays)
                self._around.observers[name].held(0)

    def _miss(self, schedule: Schedule, count: int) -> None:
        self._around.observers[schedule.name].missed(count)
        self._around.observers[schedule.name].held(0)
        log.warning(
            "fire times of schedule %s are left out: they are later than its misfire limit of %g s",
            schedule.name,
            schedule.misfire_limit / 1000,
            extra={"event": "schedule_missed", "schedule": schedule.name, "fires": count},
        )

    # -- partitions come and go ----------------------------------------------------------------------

    def _guarded(self, callback: Callable[[list[TopicPartition]], None]) -> Callable[[list[TopicPartition]], None]:
        def run(partitions: list[TopicPartition]) -> None:
            try:
                callback(partitions)
            except BaseException as error:
                self._trouble = error

        return run

    def _error(self, error: ElsaError) -> None:
        self._around.group_observer.error(name_of(error), str(error))

    def _assigned(self, partitions: list[TopicPartition]) -> None:
        self._consumer.assign(dict.fromkeys(partitions, 0))
        if partitions:
            # there is nothing to fetch
            self._consumer.pause(partitions)
        # further partitions of the topic mean nothing
        self._arriving |= {where.partition for where in partitions}
        self._arrives_at = 0.0
        self.is_ready = True
        self._around.group_observer.assigned(partitions)

    def _arrive(self) -> None:
        """Read what the predecessors have left, where no transaction may still change it."""
        if not self._arriving or self._clock.monotonic() < self._arrives_at:
            return
        for number in sorted(self._arriving):
            where = TopicPartition(self._topic, number)
            try:
                line = self._consumer.committed([where], ARRIVAL_SECONDS)[where]
            except KafkaError as error:
                if not error.retryable and error.code != "UNSTABLE_OFFSET_COMMIT":
                    raise
                self._arrives_at = self._clock.monotonic() + ARRIVAL_SECONDS
                return
            self._arriving.discard(number)
            schedules = [one for one in self._around.schedules if one.shard == number]
            metadata = "" if line is None else line.metadata
            self.shards[number] = inherit(where, self._around.group, metadata, schedules, self._clock.now())

    def _revoked(self, partitions: list[TopicPartition]) -> None:
        """No transaction is open here: they begin and end within one turn."""
        self._give_up(partitions)
        self._around.group_observer.revoked(partitions, 0.0)

    def _lost(self, partitions: list[TopicPartition]) -> None:
        self._give_up(partitions)
        self._around.group_observer.lost(partitions)

    def _give_up(self, partitions: list[TopicPartition]) -> None:
        numbers = [where.partition for where in partitions]
        self._release(numbers)
        self._arriving.difference_update(numbers)
        self._consumer.unassign(partitions)

    def _release(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            shard = self.shards.pop(number, None)
            for schedule in shard.schedules if shard is not None else ():
                self._around.observers[schedule.name].held(0)

    def _leave(self) -> None:
        """Leave the group, so that the others take over at once."""
        end = self._clock.monotonic() + LEAVE_SECONDS
        self._consumer.unsubscribe()
        while self._consumer.assigned() and self._clock.monotonic() < end:
            self._consumer.poll(0.02)
        grace = self._clock.monotonic() + LEAVE_GRACE_SECONDS
        while self._clock.monotonic() < grace:
            self._consumer.poll(0.02)
