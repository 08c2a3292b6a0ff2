"""The group manager: one thread that owns one Consumer of one group (or of one standalone handler).

It alone calls its Consumer and never runs or waits for user code (hooks excepted, which must be short).
Everybody else posts to its mailbox. A turn: read the mailbox, fire timers, commit if due, admit what waits,
pause or resume, poll, hand each partition its slice. Callbacks of the client (assign, revoke, lost, commit,
error, statistics) run inside `poll`, so on this thread as well.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
from typing import TYPE_CHECKING, Any

from elsa.errors import FatalClientError
from elsa.kafka.consumer import SLICE
from elsa.kafka.errors import is_fatal
from elsa.observer import GroupObserver
from elsa.policies.backoff import Backoff
from elsa.worker import reports
from elsa.worker.assignment import Assignment
from elsa.worker.burst import has_caught_up
from elsa.worker.commits import Commits
from elsa.worker.handover import Handover
from elsa.worker.horizons import Horizons
from elsa.worker.intake import Intake
from elsa.worker.mailbox import (
    Ask,
    Crashed,
    Ended,
    Finished,
    Halted,
    Held,
    Horizon,
    Loaded,
    Mailbox,
    Park,
    Pause,
    Produced,
    Quiet,
    Regulate,
    Resume,
    Stop,
    Topology,
    TransactionEnded,
    Unowned,
)
from elsa.worker.membership import GroupMembership, StandaloneMembership
from elsa.worker.pauses import Pauses
from elsa.worker.pulse import Pulse
from elsa.worker.results import Results
from elsa.worker.revival import Revival
from elsa.worker.routes import Routes
from elsa.worker.seen import Loading
from elsa.worker.snapshots import snapshots
from elsa.worker.spending import Spending, waits_for
from elsa.worker.timers import Timers
from elsa.worker.transactions import Transactions
from elsa.worker.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.control.protocol import Target
    from elsa.kafka.consumer import GroupConsumer
    from elsa.message import TopicPartition
    from elsa.observer import PartitionSnapshot
    from elsa.registry import Binding
    from elsa.worker.assigned import Assigned
    from elsa.worker.seen import Seen
    from elsa.worker.surroundings import Surroundings

log = logging.getLogger("elsa.worker")

#: longest wait for messages in one turn: what a command or a timer may be late
POLL_SECONDS = 0.1
#: how long a client may take to close before it is left behind
CLOSE_SECONDS = 1.0
#: the same while a commit is under way: how late it may be noticed that it takes long
COMMIT_SECONDS = 0.02
#: the same between two clients, for those who watch that the thread comes round
WAIT_SECONDS = 1.0
#: how long messages that wait for room may keep the mailbox from being looked at
GATED_SECONDS = 0.005


class GroupManager:
    """Owns one consumer; `start`, `quiet`, `stop`, `join` and `ask` may be called from any thread."""

    def __init__(self, group: str | None, bindings: Sequence[Binding], around: Surroundings) -> None:
        self.group = group
        self.name = group or bindings[0].name
        self.bindings = list(bindings)
        self.routes = Routes(self.bindings, group)
        self.mailbox = Mailbox()
        self.is_ready = False
        self.is_caught_up = False
        #: positions of a standalone handler, replaced as a whole about once a second
        self.positions: dict[str, int] = {}
        self._around = around
        self.app = around.app
        self._settings = around.app.settings
        self.clock = around.clock
        self.observer = around.app.observer.group(group)
        self.pulse = Pulse(around.clock)
        listens = getattr(self.observer.fetched, "__func__", None) is not GroupObserver.fetched
        self._fetch = self._told_poll if listens else self.poll
        self.spending = Spending()
        self.trouble = Trouble(group, self.name, around, self.observer, self.spending)
        self.assignment = Assignment(around, group, post=self.mailbox.put, observer=self.observer)
        self.results = Results(self)
        self.commits = Commits(self, interval=self._settings.commit_interval, every=self._settings.commit_every)
        self.transactions = Transactions(self, most=2 * self._settings.commit_every)
        self.pauses = Pauses(self)
        self.handover = Handover(self)
        self.revival = Revival(self)
        self.membership: GroupMembership | StandaloneMembership
        if group is None:
            self.membership = StandaloneMembership(self, around)
        else:
            self.membership = GroupMembership(self, around)
        self.horizons = Horizons(self)
        #: what a poll that brings nothing waits for
        self._waits_for = "idle"
        self.timers = Timers()
        self.intake = Intake(self)
        self.stopping: Stop | None = None
        self.is_quiet = False
        self._next_chores = 0.0
        #: what the watcher saw last; a client that was rebuilt begins with it
        self._topology: Topology | None = None
        self._has_client = False
        #: everything is given up, and committed as far as it can be
        self._done = threading.Event()
        self.consumer: GroupConsumer
        self._thread = threading.Thread(target=self._main, name=f"elsa-group-{self.name}", daemon=True)

    # -- from any thread -----------------------------------------------------------------------------

    def start(self) -> None:
        self.observer.slots(self._around.executors.slots(self.bindings))
        self._thread.start()

    def quiet(self) -> None:
        """Take no more work; what runs goes on."""
        self.mailbox.put(Quiet())

    def pause(self, target: Target) -> queue.SimpleQueue[list[TopicPartition]]:
        """Begin nothing in these partitions; where those that are owned will be told."""
        answer: queue.SimpleQueue[list[TopicPartition]] = queue.SimpleQueue()
        self.mailbox.put(Pause(target, answer))
        return answer

    def resume(self, target: Target) -> queue.SimpleQueue[list[TopicPartition]]:
        """Go on with these partitions, paused or halted; where those that are owned will be told."""
        answer: queue.SimpleQueue[list[TopicPartition]] = queue.SimpleQueue()
        self.mailbox.put(Resume(target, answer))
        return answer

    def stop(self, deadline: float, *, leave: bool) -> None:
        """Drain, commit, leave the group if `leave`, end the thread, by `deadline` (monotonic).

        Whatever comes meanwhile, a revoke too, nothing drains longer than `drain_timeout` from now: the rest of the
        time is for the commit and the leave.
        """
        drained = self.clock.monotonic() + self.app.settings.drain_timeout
        self.mailbox.put(Stop(min(deadline, drained), leave))

    def join(self, timeout: float) -> bool:
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def ended(self, deadline: float) -> bool:
        """Wait for the end of a stop, until `deadline` (monotonic); whether nothing of it is left to be done.

        A client closes when its commits are answered, which can take it a minute without a coordinator: when it is all
        that is left, it is left behind.
        """
        if self._thread.ident is not None:
            self._done.wait(max(0.0, deadline - self.clock.monotonic()))
            self._thread.join(max(0.0, min(CLOSE_SECONDS, deadline - self.clock.monotonic())))
        return self._done.is_set() or not self._thread.is_alive()

    def place(self) -> str:
        """Where its thread is, as a traceback; empty when it has ended."""
        return reports.place(self._thread) if self._thread.is_alive() else ""

    def ask(self) -> queue.SimpleQueue[list[PartitionSnapshot]]:
        """Where a snapshot of every owned partition will be; while the thread is in a hook, later."""
        answer: queue.SimpleQueue[list[PartitionSnapshot]] = queue.SimpleQueue()
        self.mailbox.put(Ask(answer))
        return answer

    # -- the thread ----------------------------------------------------------------------------------

    def _main(self) -> None:
        backoff = Backoff(first=0.5, most=30.0)
        try:
            while self.stopping is None:
                try:
                    self._session(backoff)
                except Exception as error:  # border: a broken client or turn is rebuilt, never the end
                    if isinstance(error, FatalClientError):
                        self.pulse.failed(str(error).splitlines()[0])
                    self.timers.clear()
                    self.handover.abandon(error)
                    pause = backoff.next()
                    log.exception(
                        "group manager failed and starts anew",
                        extra={"event": "group_restart", "group": self.name, "in_seconds": round(pause, 1)},
                    )
                    self._wait(pause)
        except BaseException as error:
            # a thread that ends in silence would leave a process that looks alive and works on nothing
            log.exception("group manager ended", extra={"event": "group_ended", "group": self.name})
            self.trouble.fail(f"the group manager of {self.name} ended: {error!r}")
            raise
        finally:
            # a stop that comes between two clients, or whose client breaks, has nothing to wait for
            self._done.set()
            self.transactions.close()

    def _wait(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while self.stopping is None and (left := end - self.clock.monotonic()) > 0:
            self.pulse.polled()
            self.read(self.mailbox.wait(min(left, WAIT_SECONDS)))

    def _session(self, backoff: Backoff) -> None:
        """One client from its start to its end."""
        self.trouble.pending = None
        self.consumer = self.membership.make_consumer()
        self.pulse.renewed()
        try:
            self.membership.join()
            self._has_client = True
            if self._topology is not None:
                self.membership.topology(self._topology.topics, self._topology.created)
            while self.stopping is None:
                self.turn()
                if self.is_ready:
                    self.trouble.has_begun = True
                    self.pulse.assigned()
                    backoff.reset()
            self.handover.drain(self.stopping)
            self._done.set()
        finally:
            self.is_ready = False
            self._has_client = False
            self.consumer.close()

    def turn(self) -> None:
        """One round of the loop."""
        self.read(self.mailbox.drain())
        now = self.clock.monotonic()
        self.timers.fire(now)
        self.commits.start_due(now)
        self.transactions.tick(now)
        assignment = self.assignment
        assignment.admits = not self.is_quiet
        assignment.set_flow(not self.commits.is_behind(now))
        if assignment.is_waiting:
            assignment.admit_waiting()
        if now >= self._next_chores or self.intake.is_flooding:
            self._next_chores = now + POLL_SECONDS
            self._chores(now)
        self.commits.make_ahead(now)
        gated = assignment.is_waiting
        self.spending.enter(self._waits_for)
        raws = self._fetch(0.0 if gated else self._patience(now))
        self.spending.enter("poll")
        self.intake.route(raws)
        if raws:
            # until it is looked at again
            self._waits_for = "handler"
        self.commits.make_ahead(self.clock.monotonic())
        if gated and not raws and assignment.is_waiting:
            # everything is full: the next thing to happen is a result, not a message
            self.spending.enter("backpressure")
            mail = self.mailbox.wait(GATED_SECONDS)
            self.spending.enter("poll")
            self.read(mail)
            self.results.harvest(assignment.waiting())

    def _patience(self, now: float) -> float:
        longest = COMMIT_SECONDS if self.commits.in_flight else POLL_SECONDS
        due = self.timers.next
        return longest if due is None else max(0.0, min(longest, due - now))

    def poll(self, timeout: float) -> list[Any]:
        """What Kafka has for us; raises what a callback or the client has found broken."""
        self.pulse.polled()
        try:
            raws = self.consumer.poll(timeout, self._around.budget.slice(SLICE))
        except Exception as error:
            if is_fatal(error):
                raise FatalClientError(f"the Kafka client of {self.name} is beyond repair: {error}") from error
            raise
        if self.trouble.pending is not None:
            self.trouble.raise_pending()
        return raws

    def _told_poll(self, timeout: float) -> list[Any]:
        """The same, where somebody wants to hear of each poll that brings something."""
        began = self.clock.monotonic()
        raws = self.poll(timeout)
        if raws:
            self.observer.fetched(raws, self.clock.monotonic() - began)
        return raws

    def _chores(self, now: float) -> None:
        """What is looked at ten times a second, not with every slice; partitions at rest are not looked at."""
        self.results.harvest(list(self.assignment.busy))
        self.commits.note_changes()
        if self.assignment.caution.is_on:
            self.assignment.pass_suspects()
        self.intake.steer(now)
        self.timers.prune(len(self.assignment.owned))
        self.assignment.let_rest()
        self.horizons.look(now, is_quiet=self.is_quiet)
        self._waits_for = waits_for(
            self.assignment.busy.values(), is_gated=self.assignment.is_waiting, flows=self.assignment.flows
        )
        self.observer.polled(self.clock.now())
        self.observer.spent(self.spending.take())
        self.membership.chores(now)
        self.is_caught_up = self._around.is_burst and has_caught_up(self)
        if self.group is None:
            # those of before a rebuild count until their partition is assigned again
            now_at = {str(p): a.tracker.base for p, a in self.assignment.owned.items() if a.tracker.base >= 0}
            self.positions = {**self.positions, **now_at}

    @property
    def generation(self) -> int | None:
        """Which membership this is, None outside of a group."""
        return self.consumer.generation() if self.group is not None else None

    # -- mailbox -------------------------------------------------------------------------------------

    def read(self, mail: Sequence[Any]) -> None:
        """Do what the mail says."""
        for item in mail:
            kind = type(item)
            if kind is Finished:
                self.results.finished(item.worker, item.offsets, acknowledges=item.acknowledges)
            elif kind is Produced:
                self.results.produced(item)
            elif kind is TransactionEnded:
                self.transactions.ended(item)
            elif kind is Held:
                self.results.held(item)
            elif kind is Park:
                self.timers.unpark_at(item.due, item.worker)
            elif kind is Ended:
                self.revival.ended(item.worker)
            elif kind is Crashed:
                self.revival.crashed(item.worker, item.error, item.offset)
            elif kind is Halted:
                self.revival.halted(item.worker, item.error, item.offset)
            else:
                self._read_rare(item)
        if self.results.touched:
            self.results.refill()

    def _read_rare(self, item: Any) -> None:
        """The same for what comes now and then."""
        kind = type(item)
        if kind is Loaded:
            self.revival.loaded(item.assigned, item.seen)
        elif kind is Pause or kind is Resume:
            item.answer.put(self.pauses.obey(item))
        elif kind is Regulate:
            self.share_rates()
            self.assignment.regulate(item.handler)
        elif kind is Topology:
            self._topology = item
            self.share_rates()
            if self._has_client:
                self.membership.topology(item.topics, item.created)
        elif kind is Unowned:
            self.membership.unowned(item.partitions)
        elif kind is Horizon:
            self.horizons.told(item)
        elif kind is Ask:
            item.answer.put(snapshots(self))
        elif kind is Quiet:
            self.be_quiet()
        elif kind is Stop:
            self.stopping = item

    def share_rates(self) -> None:
        """The partitions here, or those of the topics, are others than before."""
        if self._topology is not None:
            self.assignment.share_rates(self.bindings, self.routes, self._topology.topics)

    def load_seen(self, assigned: Assigned, found: Seen) -> None:
        """Have it read which messages of a partition were handled before; `Loaded` says when."""
        settlement, owned = self._around.settlement, self.assignment.owned

        def is_ours() -> bool:
            return owned.get(assigned.partition) is assigned

        Loading(self.app, assigned, found, settlement.later, self.mailbox.put, is_ours=is_ours).start()

    @property
    def transactional_id(self) -> str:
        """The same again after a restart, so that what was left open is ended at once."""
        instance = self._around.instance or f"{self.app.name}-{secrets.token_hex(6)}"
        return f"{instance}-{self.group}-tx"

    def statistics(self, stats: Mapping[str, Any]) -> None:
        """The client's statistics, every 15 s."""
        self.pulse.heard(stats)
        self.horizons.heard(stats)
        self.observer.statistics(stats)

    # -- flow control --------------------------------------------------------------------------------

    def be_quiet(self) -> None:
        """Take nothing more from Kafka."""
        self.is_quiet = True
        if self.assignment.owned:
            self.consumer.pause(list(self.assignment.owned))
