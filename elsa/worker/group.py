"""The group manager: one thread that owns one Consumer of one group (or of one standalone handler).

It alone calls its Consumer and never runs or waits for user code (hooks excepted, which must be short).
Everybody else posts to its mailbox. A turn: read the mailbox, fire timers, commit if due, admit what waits,
pause or resume, poll, hand each partition its slice. Callbacks of the client (assign, revoke, lost, commit,
error, statistics) run inside `poll`, so on this thread as well.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elsa.errors import FatalClientError
from elsa.kafka.consumer import BEGINNING, Event, GroupConsumer, classify, is_fatal
from elsa.message import TopicPartition
from elsa.policies.backoff import Backoff
from elsa.registry import route
from elsa.worker import hooks, starts
from elsa.worker.acknowledger import Acknowledger
from elsa.worker.assignment import Assignment
from elsa.worker.mailbox import (
    Ask,
    Crashed,
    Ended,
    Finished,
    Held,
    Mailbox,
    Park,
    Quiet,
    Stop,
    Topology,
    Unowned,
)
from elsa.worker.membership import GroupMembership, StandaloneMembership

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.errors import ElsaError
    from elsa.observer import PartitionSnapshot
    from elsa.registry import Binding
    from elsa.worker.assigned import Assigned
    from elsa.worker.budget import Budget
    from elsa.worker.executors import Executors
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.settlement import Settlement
    from elsa.worker.slots import Slot

log = logging.getLogger("elsa.worker")

#: longest wait for messages in one turn: what a command or a timer may be late
POLL_SECONDS = 0.1
#: the same while a commit is under way: how late it may be noticed that it takes long
COMMIT_SECONDS = 0.02
#: how long messages that wait for room may keep the mailbox from being looked at
GATED_SECONDS = 0.005
#: the last commit is tried at least so long, also when the drain took all the time there was
LAST_COMMIT_SECONDS = 1.0
#: crashes of a partition worker at one offset after which the partition is halted
MOST_CRASHES = 10


@dataclass(slots=True)
class Surroundings:
    """What the group managers of one process share."""

    app: App
    executors: Executors
    settlement: Settlement
    budget: Budget
    clock: Clock
    fail: Callable[[str], None]
    slot: Slot | None = None
    instance: str | None = None
    index: int = 0
    processes: int = 1
    positions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class GroupManager:
    """Owns one consumer; `start`, `quiet`, `stop`, `join` and `ask` may be called from any thread."""

    def __init__(self, group: str | None, bindings: Sequence[Binding], around: Surroundings) -> None:
        self.group = group
        self.name = group or bindings[0].name
        self.bindings = list(bindings)
        self.mailbox = Mailbox()
        self.is_ready = False
        self.is_caught_up = False
        self.stopped_cleanly = True
        #: positions of a standalone handler, replaced as a whole about once a second
        self.positions: dict[str, int] = {}
        self._around = around
        self._app = around.app
        self._settings = around.app.settings
        self._clock = around.clock
        self._observer = around.app.observer.group(group)
        self.assignment = Assignment(
            around.app,
            group,
            executors=around.executors,
            settlement=around.settlement,
            budget=around.budget,
            post=self.mailbox.put,
            clock=around.clock,
            observer=self._observer,
        )
        self._acknowledger = Acknowledger(interval=self._settings.commit_interval, every=self._settings.commit_every)
        self.membership: GroupMembership | StandaloneMembership
        if group is None:
            self.membership = StandaloneMembership(self, around)
        else:
            self.membership = GroupMembership(self, around)
        self._timers: list[tuple[float, int, Callable[[float], None]]] = []
        self._sequence = itertools.count()
        self._stop: Stop | None = None
        self._quiet = False
        self._trouble: BaseException | None = None
        self._next_chores = 0.0
        #: what the watcher saw last; a client that was rebuilt begins with it
        self._topology: Topology | None = None
        self._has_client = False
        self.consumer: GroupConsumer
        self._thread = threading.Thread(target=self._main, name=f"elsa-group-{self.name}", daemon=True)

    # -- from any thread -----------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def quiet(self) -> None:
        """Take no more work; what runs goes on."""
        self.mailbox.put(Quiet())

    def stop(self, deadline: float, *, leave: bool) -> None:
        """Drain until `deadline` (monotonic), commit, leave the group if `leave`, end the thread."""
        self.mailbox.put(Stop(deadline, leave))

    def join(self, timeout: float) -> bool:
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def ask(self, timeout: float) -> list[PartitionSnapshot]:
        """A snapshot of every owned partition; empty when the thread did not answer in time."""
        answer: queue.SimpleQueue[list[PartitionSnapshot]] = queue.SimpleQueue()
        self.mailbox.put(Ask(answer))
        try:
            return answer.get(timeout=timeout)
        except queue.Empty:
            return []

    # -- the thread ----------------------------------------------------------------------------------

    def _main(self) -> None:
        backoff = Backoff(first=0.5, most=30.0)
        try:
            while self._stop is None:
                try:
                    self._session(backoff)
                except Exception as error:  # border: a broken client or turn is rebuilt, never the end
                    self._abandon(error)
                    pause = backoff.next()
                    log.exception(
                        "group manager failed and starts anew",
                        extra={"event": "group_restart", "group": self.name, "in_seconds": round(pause, 1)},
                    )
                    self._wait(pause)
        except BaseException as error:
            # a thread that ends in silence would leave a process that looks alive and works on nothing
            log.exception("group manager ended", extra={"event": "group_ended", "group": self.name})
            self._around.fail(f"the group manager of {self.name} ended: {error!r}")
            raise

    def _wait(self, seconds: float) -> None:
        end = self._clock.monotonic() + seconds
        while self._stop is None and (left := end - self._clock.monotonic()) > 0:
            self._read(self.mailbox.wait(left))

    def _session(self, backoff: Backoff) -> None:
        """One client from its start to its end."""
        self._trouble = None
        self.consumer = self.membership.make_consumer()
        try:
            self.membership.join()
            self._has_client = True
            if self._topology is not None:
                self.membership.topology(self._topology.topics, self._topology.created)
            while self._stop is None:
                self.turn()
                if self.is_ready:
                    backoff.reset()
            self._drain(self._stop)
        finally:
            self.is_ready = False
            self._has_client = False
            self.consumer.close()

    def turn(self) -> None:
        """One round of the loop."""
        self._read(self.mailbox.drain())
        now = self._clock.monotonic()
        self._fire(now)
        self._commit(now)
        assignment = self.assignment
        assignment.admits = not self._quiet
        assignment.set_flow(not self._acknowledger.is_behind(now))
        if assignment.is_waiting:
            assignment.admit_waiting()
        if now >= self._next_chores:
            self._next_chores = now + POLL_SECONDS
            self._chores(now)
        gated = assignment.is_waiting
        self._route(self.poll(0.0 if gated else self._patience(now)))
        if gated and assignment.is_waiting:
            # everything is full: the next thing to happen is a result, not a message
            self._read(self.mailbox.wait(GATED_SECONDS))

    def _patience(self, now: float) -> float:
        due = self._timers[0][0] - now if self._timers else POLL_SECONDS
        return max(0.0, min(COMMIT_SECONDS if self._acknowledger.in_flight else POLL_SECONDS, due))

    def poll(self, timeout: float) -> list[Any]:
        """What Kafka has for us; raises what a callback or the client has found broken."""
        try:
            raws = self.consumer.poll(timeout)
        except Exception as error:
            if is_fatal(error):
                raise FatalClientError(f"the Kafka client of {self.name} is beyond repair: {error}") from error
            raise
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        return raws

    def _chores(self, now: float) -> None:
        """What is looked at ten times a second, not with every slice."""
        self._steer(now)
        self._observer.polled(self._clock.now())
        self.membership.chores(now)
        self.is_caught_up = self._caught_up()
        if self.group is None:
            # those of before a rebuild count until their partition is assigned again
            now_at = {str(p): a.tracker.base for p, a in self.assignment.owned.items() if a.tracker.base >= 0}
            self.positions = {**self.positions, **now_at}

    def _caught_up(self) -> bool:
        if not self.is_ready or self.assignment.ending or self.membership.wants_rejoin:
            return False
        return all(
            a.held in ("rejected", "halted")
            or (
                a.end is not None
                and a.in_hand == 0
                and a.tracker.base >= a.end
                and (self.group is None or a.committed >= a.tracker.base)
            )
            for a in self.assignment.owned.values()
        )

    # -- mailbox -------------------------------------------------------------------------------------

    def _read(self, mail: Sequence[Any]) -> None:
        for item in mail:
            kind = type(item)
            if kind is Finished:
                self._finished(item.worker, item.offsets, acknowledges=item.acknowledges)
            elif kind is Held:
                assigned = self.assignment.current(item.worker)
                if assigned is not None:
                    self.assignment.held(assigned, item.offsets)
            elif kind is Park:
                self.at(item.due, item.worker.unpark)
            elif kind is Ended:
                self.assignment.ended(item.worker)
            elif kind is Crashed:
                self._crashed(item.worker, item.error)
            elif kind is Topology:
                self._topology = item
                if self._has_client:
                    self.membership.topology(item.topics, item.created)
            elif kind is Unowned:
                self.membership.unowned(item.partitions)
            elif kind is Ask:
                item.answer.put(self._snapshots())
            elif kind is Quiet:
                self._be_quiet()
            elif kind is Stop:
                self._stop = item

    def at(self, due: float, run: Callable[[float], None]) -> None:
        """Call `run(now)` on this thread at a time of the monotonic clock."""
        heapq.heappush(self._timers, (due, next(self._sequence), run))

    def _fire(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2](now)

    def _finished(self, worker: PartitionWorker, offsets: Any, *, acknowledges: bool) -> None:
        assigned = self.assignment.current(worker)
        if assigned is None:
            return
        count = self.assignment.finished(assigned, offsets, acknowledges=acknowledges)
        assigned.reach_end()
        self._acknowledger.finished(assigned, count)

    def _snapshots(self) -> list[PartitionSnapshot]:
        return [
            assigned.snapshot(self.group, *self.consumer.cached_watermarks(partition))
            for partition, assigned in self.assignment.owned.items()
        ]

    # -- messages in ---------------------------------------------------------------------------------

    def _route(self, raws: Sequence[Any]) -> None:
        """Give each partition its part of what was polled; events after the messages before them."""
        slices: dict[tuple[str, int], list[Any]] = {}
        events = []
        for raw in raws:
            if raw.error() is not None:
                events.append(raw)
                continue
            key = (raw.topic(), raw.partition())
            part = slices.get(key)
            if part is None:
                slices[key] = [raw]
            else:
                part.append(raw)
        owned = self.assignment.owned
        for key, part in slices.items():
            assigned = owned.get(key)  # type: ignore[call-overload]  # a TopicPartition is such a tuple
            if assigned is not None and assigned.held is None:
                if part[0].offset() <= self._last(assigned):
                    self._rewound(assigned, part[0].offset())
                self.assignment.receive(assigned, part)
                if assigned.paused_at is None and assigned.wants_pause():
                    # what comes until the next chores would have to be kept
                    self._next_chores = 0.0
        for raw in events:
            self._event(raw)

    @staticmethod
    def _last(assigned: Assigned) -> int:
        return assigned.overflow[-1].offset() if assigned.overflow else assigned.tracker.last

    def _rewound(self, assigned: Assigned, offset: int) -> None:
        """Offsets went back: the log was truncated, or the topic deleted and made again."""
        log.warning(
            "offsets went back, the log was truncated or the topic made anew",
            extra={
                "event": "log_rewound",
                "topic": assigned.partition.topic,
                "partition": assigned.partition.partition,
                "expected": assigned.tracker.last + 1,
                "offset": offset,
            },
        )
        self._renew(assigned, offset)
        self.assignment.start(assigned, self.consumer.generation() if self.group is not None else None)

    def _renew(self, assigned: Assigned, base: int) -> None:
        self.assignment.close([assigned.partition])
        self.assignment.restart(assigned)
        assigned.tracker.base = base
        assigned.tracker.last = base - 1
        # what was committed for the old log must not keep the new one from being committed
        assigned.committed = min(assigned.committed, base - 1)

    def _event(self, raw: Any) -> None:
        kind = classify(raw)
        if kind == Event.END_OF_PARTITION:
            assigned = self.assignment.owned.get(TopicPartition(raw.topic(), raw.partition()))
            # of a partition that is held nothing was delivered: its end says nothing about what is done
            if assigned is not None and assigned.held is None:
                assigned.end = raw.offset()
                if assigned.reach_end():
                    self._acknowledger.finished(assigned, 0)
        elif kind == Event.OUT_OF_RANGE:
            self._out_of_range(TopicPartition(raw.topic(), raw.partition()))
        elif kind == Event.FATAL:
            raise FatalClientError(f"the Kafka client of {self.name} is beyond repair: {raw.error().str()}")
        elif kind == Event.WAITING:
            # the watcher knows whether the topic is just being made, and says what to do if not
            self._observer.error(raw.error().name(), raw.error().str())
        else:
            self.report(raw.error().name(), raw.error().str())

    def _out_of_range(self, partition: TopicPartition) -> None:
        assigned = self.assignment.owned.get(partition)
        if assigned is None:
            return
        target = starts.out_of_range(self.consumer, partition, assigned.binding, self._last(assigned) + 1)
        if target is None:
            self._around.fail(
                f"{partition}: the offset {self._last(assigned) + 1} is out of range and handler "
                f"{assigned.binding.name} says on_out_of_range='fail'; reset the group's offsets to go on"
            )
            assigned.held = "halted"
            return
        if target <= self._last(assigned) or not assigned.has_pending:
            self._renew(assigned, target)
            self.assignment.start(assigned, self.consumer.generation() if self.group is not None else None)
        # else the log has lost what comes next: what is in hand is not in it any more, so dropping it would lose it
        self.consumer.reassign(partition, target)

    def report(self, code: str, text: str) -> None:
        """Say the same trouble once a minute, count it always."""
        self._observer.error(code, text)
        log.warning("kafka: %s", text, extra={"event": "kafka_error", "group": self.name, "code": code, "limit": code})

    # -- flow control --------------------------------------------------------------------------------

    def _steer(self, now: float) -> None:
        """Pause and resume: a function of counters, looked at regularly and never toggled by events."""
        pause, resume = [], []
        for partition, assigned in self.assignment.owned.items():
            if assigned.held is not None or self._quiet:
                continue
            if assigned.paused_at is None:
                if assigned.wants_pause():
                    assigned.paused_at = now
                    assigned.passed_at_pause = assigned.tracker.passed
                    pause.append(partition)
            elif assigned.wants_resume(now):
                assigned.paused_at = None
                resume.append(partition)
        if pause:
            self.consumer.pause(pause)
        if resume:
            self.consumer.resume(resume)

    def _be_quiet(self) -> None:
        self._quiet = True
        if self.assignment.owned:
            self.consumer.pause(list(self.assignment.owned))

    # -- commits -------------------------------------------------------------------------------------

    def _commit(self, now: float) -> None:
        if self.group is None:
            return
        offsets = self._acknowledger.due(now, self.assignment.owned)
        if offsets:
            try:
                self.consumer.commit(offsets)
            except Exception as error:  # a commit that cannot even be queued is one that failed
                self._acknowledger.answered(self.assignment.owned, offsets, ok=False)
                self.report("commit", f"the commit could not be sent: {error}")

    def committed(self, error: ElsaError | None, fenced: bool, offsets: dict[TopicPartition, int]) -> None:  # noqa: FBT001 - callback
        """The broker answered a commit."""
        seconds = self._clock.monotonic() - self._acknowledger.started
        self._acknowledger.answered(self.assignment.owned, offsets, ok=error is None)
        self._observer.committed("ok" if error is None else "error", seconds, offsets)
        if fenced:
            # every rebalance may cross a commit that was under way
            log.info("a commit met a rebalance and will be repeated", extra={"group": self.name})
        elif error is not None:
            self.report("commit", f"the commit was refused and will be repeated: {error}")

    def _commit_now(self, partitions: Sequence[TopicPartition]) -> ElsaError | None:
        """Commit what is finished and wait for the answer; why it was refused."""
        if self.group is None:
            return None
        offsets = self._acknowledger.pending(self.assignment.owned, partitions)
        if not offsets:
            return None
        began = self._clock.monotonic()
        error, _ = self.consumer.commit_now(offsets)
        self._acknowledger.answered(self.assignment.owned, offsets, ok=error is None)
        self._observer.committed("ok" if error is None else "error", self._clock.monotonic() - began, offsets)
        return error

    def _commit_meanwhile(self, now: float) -> None:
        """Commit what is due inside a callback, where the answer of a commit under way cannot come."""
        if self.group is not None and self._acknowledger.is_due(now):
            self._commit_now(self._acknowledger.take(now))
        self.assignment.set_flow(not self._acknowledger.is_behind(now))

    def _commit_patiently(self, deadline: float) -> None:
        """Commit what is finished; again while a rebalance refuses it, which goes on with each poll."""
        while self._commit_now(list(self.assignment.owned)) is not None and self._clock.monotonic() < deadline:
            self.poll(GATED_SECONDS)
            self._read(self.mailbox.wait(GATED_SECONDS))

    # -- partitions come and go ----------------------------------------------------------------------

    def guarded(self, callback: Callable[[list[TopicPartition]], None]) -> Callable[[list[TopicPartition]], None]:
        """A callback that never raises into the client; what it raised is raised by `poll` afterwards."""

        def run(partitions: list[TopicPartition]) -> None:
            try:
                callback(partitions)
            except BaseException as error:
                self._trouble = error

        return run

    def take(self, begins: Mapping[TopicPartition, starts.Begin]) -> None:
        """Partitions are ours: make their workers, run the hooks, fetch from where they begin."""
        generation = self.consumer.generation() if self.group is not None else None
        hold = []
        for partition, begin in begins.items():
            binding = route(self.bindings, partition.topic)
            assert binding is not None
            assigned = self.assignment.add(partition, binding, base=max(begin.offset, -1), committed=begin.committed)
            if hooks.assigned(self._app, self.group, partition, generation) is not None:
                assigned.held = "rejected"
            if assigned.held is not None or self._quiet:
                hold.append(partition)
            self.assignment.start(assigned, generation)
        self.consumer.assign({partition: begin.offset for partition, begin in begins.items()})
        # A pause outlives its assignment in librdkafka: a partition that went while it was paused would never start.
        self.consumer.resume([partition for partition in begins if partition not in hold])
        if hold:
            self.consumer.pause(hold)
        pinned = {partition: begin.offset for partition, begin in begins.items() if begin.pinned}
        if pinned and self.group is not None:
            error, _ = self.consumer.commit_now(pinned)
            if error is not None:
                raise error
            for partition, offset in pinned.items():
                self.assignment.owned[partition].committed = offset
        self._observer.assigned(list(begins))

    def release(self, partitions: Sequence[TopicPartition], *, deadline: float, commit: bool) -> list[TopicPartition]:
        """Give partitions up: drain them together until `deadline`, cancel the rest, commit; those that were ours.

        The other partitions go on meanwhile: their results are read here.
        """
        ours = [p for p in partitions if p in self.assignment.owned]
        began = self._clock.monotonic()
        self.assignment.close(ours)
        while not self.assignment.is_ended(ours) and (left := deadline - self._clock.monotonic()) > 0:
            self._read(self.mailbox.wait(min(left, POLL_SECONDS)))
            now = self._clock.monotonic()
            self._fire(now)
            if commit:
                self._commit_meanwhile(now)
            self.assignment.admit_waiting()
            if self._stop is not None:
                deadline = min(deadline, self._stop.deadline)
        self._read(self.mailbox.drain())
        self._cancel(ours, "handler did not return in time" if commit else "partition lost while its handler ran")
        self._read(self.mailbox.drain())
        if not commit:
            self._acknowledger.abandon()
        elif (error := self._commit_now(ours)) is not None:
            self.report("commit", f"the last commit before giving partitions up failed: {error}")
        self.assignment.remove(ours)
        self._acknowledger.forget(ours)
        if ours:
            self._observer.revoked(ours, self._clock.monotonic() - began)
        return ours

    def _cancel(self, partitions: Sequence[TopicPartition], why: str) -> None:
        running = self.assignment.cancel(partitions)
        if not running:
            return
        self.stopped_cleanly = False
        for worker in running:
            where = worker.running
            log.error(
                "%s, its message will be delivered again",
                why,
                extra={
                    "event": "drain_timeout",
                    "handler": worker.handler_name,
                    "topic": worker.partition.topic,
                    "partition": worker.partition.partition,
                    "offset": where[0].offset() if where else None,
                    "stack": hooks.stack(where[1]) if where else None,
                },
            )
        end = self._clock.monotonic() + 1.0
        while not self.assignment.is_ended(partitions) and (left := end - self._clock.monotonic()) > 0:
            self._read(self.mailbox.wait(left))

    def drain_deadline(self) -> float:
        """When a revoke gives up waiting: before the group would give up this member."""
        limit = min(self._settings.drain_timeout, 0.4 * self._settings.max_poll_interval)
        return self._clock.monotonic() + limit

    def revoked(self, partitions: list[TopicPartition]) -> None:
        """The group takes partitions away (or we leave): inside the client's callback."""
        try:
            ours = self.release(partitions, deadline=self.drain_deadline(), commit=True)
            if ours:
                hooks.call(self._app, "revoked", ours)
        finally:
            self.consumer.unassign(partitions)
            self.membership.gave_up()

    def lost(self, partitions: list[TopicPartition]) -> None:
        """Somebody else may have these partitions already: cancel, commit nothing."""
        try:
            ours = self.release(partitions, deadline=self._clock.monotonic(), commit=False)
            self._observer.lost(ours)
            hooks.call(self._app, "lost", ours)
        finally:
            self.consumer.unassign(partitions)
            self.membership.gave_up()

    def _crashed(self, worker: PartitionWorker, error: BaseException) -> None:
        """A partition worker failed: a new one begins at its last unfinished offset, the others never notice."""
        assigned = self.assignment.current(worker)
        if assigned is None:
            return
        self.assignment.ending.add(worker)
        base = self.assignment.restart(assigned)
        if base != assigned.crashes_at:
            assigned.backoff.reset()
        assigned.crashes_at = base
        pause = assigned.backoff.next()
        facts: dict[str, Any] = {
            "topic": assigned.partition.topic,
            "partition": assigned.partition.partition,
            "offset": base,
            "handler": worker.handler_name,
        }
        self.consumer.pause([assigned.partition])
        if assigned.backoff.failures > MOST_CRASHES:
            assigned.held = "halted"
            self._observer.halted(assigned.partition, type(error).__name__)
            log.error(
                "partition halted: its worker failed again and again at the same offset",
                exc_info=error,
                extra={"event": "partition_halted", **facts},
            )
            return
        assigned.held = "restarting"
        self._observer.restarted("partition", type(error).__name__)
        log.error(
            "partition worker failed and starts anew",
            exc_info=error,
            extra={"event": "partition_restart", "in_seconds": round(pause, 1), **facts},
        )
        self.at(self._clock.monotonic() + pause, lambda _: self._revive(assigned))

    def _revive(self, assigned: Assigned) -> None:
        if self.assignment.owned.get(assigned.partition) is not assigned or assigned.held != "restarting":
            return
        assigned.held = None
        assigned.paused_at = None
        base = assigned.tracker.base
        self.assignment.start(assigned, self.consumer.generation() if self.group is not None else None)
        self.consumer.seek(assigned.partition, base if base >= 0 else BEGINNING)
        if not self._quiet:
            self.consumer.resume([assigned.partition])

    # -- ends ----------------------------------------------------------------------------------------

    def _drain(self, stop: Stop) -> None:
        """A stop: take nothing more, keep polling (heartbeats and revokes go on), drain, commit, leave."""
        self._be_quiet()
        # what was cancelled in an earlier rebalance does not make this stop a forced one
        self.stopped_cleanly = True
        owned = list(self.assignment.owned)
        self.assignment.close(owned)
        deadline = min(stop.deadline, self._clock.monotonic() + self._settings.drain_timeout)
        while self.assignment.ending and self._clock.monotonic() < deadline:
            # messages that were under way are dropped: not delivered, not committed, so they come again
            self.poll(0.0)
            self._read(self.mailbox.wait(GATED_SECONDS))
            self._fire(self._clock.monotonic())
            self._commit(self._clock.monotonic())
        # others that stop at the same time have set off a rebalance
        self._commit_patiently(max(deadline, self._clock.monotonic() + LAST_COMMIT_SECONDS))
        owned = list(self.assignment.owned)
        ours = self.release(owned, deadline=deadline, commit=True)
        if ours:
            hooks.call(self._app, "revoked", ours)
        self.membership.leave(for_good=stop.leave)

    def _abandon(self, error: Exception) -> None:
        """The client is broken: nothing can be committed any more, so everything in hand will come again."""
        self._observer.restarted("group", type(error).__name__)
        owned = list(self.assignment.owned)
        self.assignment.close(owned)
        self.assignment.cancel(owned)
        self.assignment.remove(owned)
        self._acknowledger.forget(owned)
        self._acknowledger.abandon()
        self._timers.clear()
        self.membership.failed(error)
        if owned:
            hooks.call(self._app, "lost", owned)
