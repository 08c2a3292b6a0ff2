"""Everything that works in one process: executors, group managers, the watcher; started and stopped as one.

Used by worker processes (`elsa.worker.process`) and by programs that embed workers (`App.start`).
"""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import socket
import threading
from typing import TYPE_CHECKING, Any

from elsa import exits
from elsa.clock import SYSTEM
from elsa.errors import ConfigError
from elsa.kafka.config import validate_kafka
from elsa.registry import select
from elsa.worker import hooks, propagation, reports
from elsa.worker.budget import Budget
from elsa.worker.burst import Ender
from elsa.worker.executors import Executors
from elsa.worker.group import GroupManager
from elsa.worker.journal import Journal
from elsa.worker.pace import Paces
from elsa.worker.readiness import Readiness
from elsa.worker.services import Services
from elsa.worker.settlement import Settlement
from elsa.worker.slots import acquire
from elsa.worker.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from elsa.app import App
    from elsa.control.protocol import Tally
    from elsa.handlers import Handler
    from elsa.observer import PartitionSnapshot
    from elsa.registry import Binding
    from elsa.renewing import Renewing
    from elsa.worker.slots import Slot

log = logging.getLogger("elsa.worker")

#: how often it is looked whether everything is ready
_READY_SECONDS = 0.05
#: how much of a stop a group manager has for its last commit and its leave, a fifth of it at most
_LEAVE_SECONDS = 3.0
#: how long a scrape may wait for a group manager
_ASK_SECONDS = 0.25


class Runtime:
    """The workers of one App in this process.

    `start`, `quiet` and `stop` may be called from any thread, any number of times, `stop` also before
    `start`. `ended` is set when the work is over by itself: burst, max_messages, or a failure (`failure`).
    """

    def __init__(
        self,
        app: App,
        *,
        topics: Iterable[str] = (),
        exclude: Iterable[str] = (),
        weights: Mapping[str, float] | None = None,
        index: int = 0,
        processes: int = 1,
        preferred_slot: int | None = None,
        burst: bool = False,
        max_messages: int | None = None,
        positions: Mapping[str, Mapping[str, int]] | None = None,
        on_wish: Callable[[str], None] | None = None,
    ) -> None:
        """`on_wish` is told what only the supervisor can do: `quiet` and `stop` of all its processes."""
        settings = app.settings
        self.app = app
        self.bindings = select(app.registry.bindings(), topics, exclude)
        if not self.bindings:
            raise ConfigError(
                f"the App {app.name!r} has no handler to run here",
                hint="declare one with @app.handler(...), and look at --topics and --exclude",
            )
        self.ended = threading.Event()
        self.failure: str | None = None
        #: the exit code that a failure ends the process with
        self.failure_code = exits.FAILED
        self.reason = "stopped"
        self._burst = burst
        self._limit = max_messages
        self._lock = threading.Lock()
        self._state = "new"
        self._preferred_slot = preferred_slot
        self.slot: Slot | None = None
        #: of this process, for the brokers and for those who ask and command; the same again where it has a slot
        self.name = f"{app.name}-{secrets.token_hex(6)}"
        self.is_quiet = False
        #: what handlers have done, for reports; None where nobody counts
        self.tallies: Callable[[], list[Tally]] | None = None
        self._on_wish = on_wish
        self._budget = Budget(
            messages=settings.max_in_flight_process, size=settings.max_bytes_process, max_messages=max_messages
        )
        self._executors = Executors(settings, weights, on_loop_lag=app.observer.loop_lagged)
        self._settlement = Settlement(app)
        self._around = self._make_surroundings(
            index=index, processes=processes, is_burst=burst, positions=positions or {}
        )
        self.managers: list[GroupManager] = []
        #: what the user's hooks say
        self.readiness = Readiness(app.hooks["readiness"])
        #: from the start on
        self._services: Services | None = None
        self._ender: Ender | None = None

    def _make_surroundings(self, **given: Any) -> Surroundings:
        return Surroundings(
            app=self.app,
            executors=self._executors,
            settlement=self._settlement,
            budget=self._budget,
            clock=SYSTEM,
            fail=self._fail,
            paces=Paces(SYSTEM),
            renamed=self._renamed,
            **given,
        )

    # -- start -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all threads; returns before anything is assigned. Raises ConfigError for a wrong `kafka` key."""
        validate_kafka(self.app.settings)
        with self._lock:
            if self._state != "new":
                return
            self._state = "running"
        propagation.install()
        groups: dict[str, list[Binding]] = {}
        for binding in self.bindings:
            if binding.group is not None:
                groups.setdefault(binding.group, []).append(binding)
        if groups:
            self._take_slot()
        self.managers = [GroupManager(group, bindings, self._around) for group, bindings in groups.items()]
        self.managers += [GroupManager(None, [b], self._around) for b in self.bindings if b.group is None]
        hooks.call(self.app, "startup")
        self.app.observer.watch(self.snapshots)
        for manager in self.managers:
            manager.start()
        self._services = services = Services(self, self._around)
        self._settlement.topic_made = lambda _: services.watcher.look()
        self._around.doubt = services.watcher.doubt
        services.start()
        self.readiness.start()
        if self._burst or self._limit is not None:
            has_limit = self._limit is not None
            self._ender = Ender(self, self._budget, self.ended, self._over, is_burst=self._burst, has_limit=has_limit)
            self._ender.start()

    def _take_slot(self) -> None:
        settings = self.app.settings
        if not settings.static_membership or settings.group_protocol != "classic":
            return
        self.slot = acquire(self.app.name, runtime_dir=settings.runtime_dir, preferred=self._preferred_slot)
        host = settings.instance or socket.gethostname()
        self._around.slot = self.slot
        self._around.caution.journal = Journal.open(self.slot.path.with_suffix(".journal"))
        self._around.instance = self.name = f"{self.app.name}-{host}-{self.slot.number}"

    def _renamed(self, name: str) -> None:
        """Another process has our name: of two that answer and report under one nobody could tell which it is."""
        if self.name == self._around.instance:
            self.name = name

    # -- state -----------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether every group has joined and every standalone handler has its partitions."""
        return self._state == "running" and bool(self.managers) and all(m.is_ready for m in self.managers)

    @property
    def is_stopping(self) -> bool:
        """Whether it drains, or has ended."""
        return self._state == "stopped"

    def wait_ready(self, timeout: float) -> bool:
        """Wait for `is_ready`; False after `timeout` seconds or when the work has ended before."""
        end = SYSTEM.monotonic() + timeout
        while not self.is_ready:
            if SYSTEM.monotonic() >= end or self.ended.wait(_READY_SECONDS):
                return self.is_ready
        return True

    def positions(self) -> dict[str, dict[str, int]]:
        """Where standalone handlers are: handler -> `topic[partition]` -> next offset."""
        found: dict[str, dict[str, int]] = {}
        for manager in self.managers:
            if manager.group is None:
                # a handler of several topics has a manager for each
                found.setdefault(manager.name, {}).update(manager.positions)
        return found

    def snapshots(self) -> list[PartitionSnapshot]:
        """Every assigned partition, asked of the threads that own them; without those that are late."""
        answers = [manager.ask() for manager in self.managers]
        end = SYSTEM.monotonic() + _ASK_SECONDS
        found: list[PartitionSnapshot] = []
        for answer in answers:
            with contextlib.suppress(queue.Empty):
                found += answer.get(timeout=max(0.0, end - SYSTEM.monotonic()))
        return found

    def topics(self, timeout: float) -> Mapping[str, int]:
        """The cluster's topics as last seen; waits for the first look, empty when that took longer."""
        return self._services.watcher.seen(timeout) if self._services is not None else {}

    @property
    def services(self) -> list[Renewing]:
        """The mover and the scheduler, as far as they were started."""
        return self._services.renewing if self._services is not None else []

    def brokers_answered(self) -> tuple[float | None, str | None]:
        """Seconds since the brokers answered last (None: never), and why they do not now (None: they do)."""
        if self._services is None:
            return None, None
        watcher = self._services.watcher
        if watcher.answered_at is None:
            return None, watcher.trouble
        return SYSTEM.monotonic() - watcher.answered_at, watcher.trouble

    def doubt(self) -> None:
        """Have it looked now whether the brokers answer, unless it is known that they do not."""
        self._around.doubt()

    def concurrency(self, handler: Handler[Any, Any]) -> int:
        """How many messages of a handler may be in progress in this process."""
        return self._executors.concurrency(handler)

    def places(self) -> dict[str, str]:
        """Where the group managers are whose threads have not ended: name -> traceback."""
        return {manager.name: place for manager in self.managers if (place := manager.place())}

    def running(self, *, with_stacks: bool = True) -> list[dict[str, Any]]:
        """What handlers work on now, for reports."""
        found = []
        for manager in self.managers:
            workers = {a.worker for a in list(manager.assignment.owned.values())} | set(manager.assignment.ending)
            for worker in workers:
                if worker is not None:
                    found += reports.calls(worker, with_stacks=with_stacks)
        return found

    # -- commands --------------------------------------------------------------------------------------

    def set_rate(self, handler: Handler[Any, Any], rate: float | None) -> None:
        """Let a handler's group start so many messages a second; its managers are told by the caller."""
        self._around.paces.set_rate(handler, rate)

    def shares_pool(self, one: Handler[Any, Any], other: Handler[Any, Any]) -> bool:
        """Whether two handlers take their places from each other."""
        return self._executors.of(one) is self._executors.of(other)

    @property
    def can_wish(self) -> bool:
        """Whether a supervisor hears what this process is told for all of them."""
        return self._on_wish is not None

    def wish(self, what: str) -> None:
        """Tell the supervisor what its processes are to do; in another program nobody hears it."""
        if self._on_wish is not None:
            self._on_wish(what)

    def _fail(self, text: str, code: int = exits.FAILED) -> None:
        """The work cannot go on; called by group managers."""
        if self.failure is None:
            self.failure_code = code
            self.failure = text
        self.reason = "failed"
        self.ended.set()

    def _over(self, reason: str) -> None:
        """The work has come to its end by itself."""
        self.reason = reason
        self.ended.set()

    # -- end -------------------------------------------------------------------------------------------

    def quiet(self) -> None:
        """Take no more work; what runs goes on."""
        self.is_quiet = True
        for manager in self.managers:
            manager.quiet()

    def stop(self, timeout: float, *, leave: bool | None = None) -> bool:
        """Drain, commit, leave the groups, end every thread; True when nothing had to be abandoned."""
        with self._lock:
            before, self._state = self._state, "stopped"
        if before != "running":
            self.ended.set()
            return True
        if leave is None:
            leave = self.app.settings.leave_on_stop
        deadline = SYSTEM.monotonic() + timeout
        if self._around.caution.journal is not None:
            self._around.caution.journal.disarm()
        self.readiness.stop()
        if self._services is not None:
            self._services.quiet(leave=leave)
        for manager in self.managers:
            # it needs a moment beyond the drain: commit, leave, close
            manager.stop(deadline - min(_LEAVE_SECONDS, timeout / 5), leave=leave)
        ended = [m.ended(deadline) for m in self.managers]
        clean = all(ended) and all(m.handover.stopped_cleanly for m in self.managers)
        if self._services is not None:
            self._services.finish()
        self._settlement.close(max(0.0, deadline - SYSTEM.monotonic()))
        if self._services is not None:
            self._services.stop(deadline)
        hooks.call(self.app, "shutdown")
        clean = self._executors.stop(1.0 if clean else 0.0) and clean
        self.ended.set()
        if self._ender is not None:
            self._ender.join(1.0)
        if self.slot is not None:
            self.slot.release()
        return clean
