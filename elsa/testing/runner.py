"""Runs an App's group managers step by step in the caller's thread; the harness owns one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from elsa.errors import WorkerError
from elsa.testing.engine import InlineExecutors, SteppedManager, SteppedSettlement
from elsa.testing.mover import MemoryMover
from elsa.testing.schedules import MemoryScheduler
from elsa.worker.budget import Budget
from elsa.worker.mailbox import Topology
from elsa.worker.pace import Paces
from elsa.worker.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.app import App
    from elsa.registry import Binding
    from elsa.testing.clock import FakeClock
    from elsa.testing.log import MemoryLog
    from elsa.testing.recording import Journal

#: messages that one run may handle before it is taken for a circle
MOST_MESSAGES = 100_000


class Runner:
    """`begin` makes the workers, `run` brings them to rest, `end` stops them; then they may begin anew.

    Used by one thread; `topic_created` may come from any.
    """

    def __init__(self, app: App, clock: FakeClock, log: MemoryLog, journal: Journal) -> None:
        self._app = app
        self._clock = clock
        self._log = log
        self._journal = journal
        self._managers: list[SteppedManager] = []
        self._executors = InlineExecutors(app)
        self._settlement = SteppedSettlement(app, clock)
        self._mover = MemoryMover(app, clock, log)
        self._schedules = MemoryScheduler(app, clock, log)
        self._depth = 0

    # -- begin and end -----------------------------------------------------------------------------

    def create_topics(self) -> None:
        """Make the topics that handlers name."""
        for binding in self._app.registry.bindings():
            if not binding.is_pattern:
                declared = binding.first.declared
                least = max(declared.partitions or (0,)) + 1
                self._log.create(binding.topic, max(declared.partitions_count or 1, least))

    def begin(self) -> None:
        """Assign every partition of every handler's topics, at what its group has committed."""
        app = self._app
        self._executors = InlineExecutors(app)
        self._settlement = SteppedSettlement(app, self._clock)
        around = Surroundings(
            app=app,
            executors=self._executors,
            settlement=self._settlement,
            budget=Budget(messages=app.settings.max_in_flight_process, size=app.settings.max_bytes_process),
            clock=self._clock,
            fail=self._fail,
            paces=Paces(self._clock),
        )
        served: list[tuple[str | None, list[Binding]]] = [*app.registry.groups().items()]
        served += [(None, [binding]) for binding in app.registry.standalone()]
        self._managers = [
            SteppedManager(group, bindings, around, self._log, self._journal) for group, bindings in served
        ]
        for manager in self._managers:
            manager.membership.topology(self._log.counts(), frozenset())

    def end(self) -> None:
        """Let what runs end, tear handlers down, commit, give all partitions up."""
        for manager in self._managers:
            manager.close_workers()
        self._settle()
        while self._settlement.next_due is not None:
            self._settlement.give_up()
        self._settle()
        for manager in self._managers:
            manager.end()
        self._managers = []
        self._settlement.close()
        self._executors.stop(0.0)

    def _fail(self, text: str, _code: int) -> None:
        self._journal.failed(WorkerError(text))

    def topic_created(self, topic: str) -> None:
        """A topic came: every group hears of it before it gets the next message."""
        for manager in self._managers:
            manager.mailbox.put(Topology(self._log.counts(), frozenset((topic,))))

    # -- run -----------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        return self._depth > 0

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """What is sent meanwhile is run afterwards."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def run(self) -> None:
        """Run everything that is due now, the oldest message first, until nothing is left."""
        handled = 0
        with self.busy():
            while True:
                self._settle()
                if self._settlement.fire(self._clock.monotonic()) or self._mover.fire() or self._schedules.fire():
                    continue
                waiting = [(at, m) for m in self._managers if (at := m.memory.next_sequence()) is not None]
                if not waiting:
                    return
                handled += min(waiting, key=lambda one: one[0])[1].deliver()
                if handled > MOST_MESSAGES:
                    raise RuntimeError(
                        f"{handled} messages followed from one send, and there are more: do handlers of "
                        f"{self._app.name} send to each other in a circle?"
                    )

    def _settle(self) -> None:
        """Run all lanes and read all mailboxes until both are empty."""
        while self._executors.run() or self._step():
            # Ctrl-C and pytest's own signals go through at once
            self._journal.raise_interrupts()

    def _step(self) -> bool:
        return sum(manager.step() for manager in self._managers) > 0

    def wait(self, seconds: float) -> None:
        """Give threads and tasks of the handlers a moment of real time, then run what has come of it."""
        self._executors.wait(seconds)
        self.run()

    @property
    def next_due(self) -> float | None:
        """When the next retry, batch or restart is due (monotonic), None when nothing waits; periodic tasks aside."""
        found = [manager.next_due for manager in self._managers]
        found += [self._settlement.next_due, self._mover.next_due]
        return _first(*found)

    def move_to(self, monotonic: float) -> None:
        """Move the clock (never back) and run what is due on the way and then, each at its time."""
        while (due := _first(self.next_due, self._schedules.next_due)) is not None and due <= monotonic:
            self._step_to(due)
        self._step_to(monotonic)

    def _step_to(self, monotonic: float) -> None:
        self._clock.advance(max(0.0, monotonic - self._clock.monotonic()))
        self.run()

    def deferred(self) -> list[str]:
        """What waits for `ctx.ack()`."""
        return [
            f"{where} offset {offset}"
            for manager in self._managers
            for where, assigned in manager.assignment.owned.items()
            if assigned.worker is not None
            for offset in assigned.worker.deferrals.offsets()
        ]


def _first(*dues: float | None) -> float | None:
    return min((due for due in dues if due is not None), default=None)
