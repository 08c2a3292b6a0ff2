"""What works in a process beside its group managers: watcher, mover of delayed messages, scheduler, operator commands.

Made by the runtime when its group managers have been started, and ended by it in three steps around their end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.control.service import Service
from elsa.delays.mover import Mover
from elsa.schedules.scheduler import Scheduler
from elsa.worker.commands import Commands
from elsa.worker.watcher import Watcher

if TYPE_CHECKING:
    from elsa.renewing import Renewing
    from elsa.worker.runtime import Runtime
    from elsa.worker.surroundings import Surroundings

#: how long each is waited for when a stop has taken all of its time
_LAST_SECONDS = 0.2


class Services:
    """Each has a thread of its own."""

    def __init__(self, runtime: Runtime, around: Surroundings) -> None:
        app, is_static = runtime.app, runtime.slot is not None
        self.watcher = Watcher(app, runtime.bindings, runtime.managers, SYSTEM, around.fail)
        #: the mover and the scheduler
        self.renewing: list[Renewing] = [Mover(app, instance=runtime.name, is_static=is_static)]
        if app.schedules and not around.is_burst:
            # a burst is there for what is there
            self.renewing.append(Scheduler(app, instance=runtime.name, is_static=is_static))
        number = runtime.slot.number if runtime.slot is not None else None
        self._control = Service(app, lambda: runtime.name, number, Commands(runtime))

    def start(self) -> None:
        """Start all of them."""
        self.watcher.start()
        for one in self.renewing:
            one.start()
        self._control.start()

    def quiet(self, *, leave: bool) -> None:
        """Before the group managers drain: let all that begins work of its own end."""
        self.watcher.stop(0)
        for one in self.renewing:
            one.stop(leave=leave)

    def finish(self) -> None:
        """After they have drained: until now it could be asked what the drain waits for."""
        self._control.finish()

    def stop(self, deadline: float) -> None:
        """Wait until all of them have ended, to `deadline` (monotonic) or little longer."""

        def left(most: float) -> float:
            return min(most, max(_LAST_SECONDS, deadline - SYSTEM.monotonic()))

        # it may be asking a broker that is away
        self.watcher.stop(left(5.0))
        for one in self.renewing:
            # what the mover has not moved stays where it is: nothing depends on its end
            one.join(left(float("inf")))
        self._control.stop(left(2.0))
