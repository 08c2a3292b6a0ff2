"""What goes wrong between one group manager and Kafka: said, counted, and raised where a new client can mend it.

Called on the group manager's thread, most of it inside the client's callbacks.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from elsa import exits
from elsa.errors import AuthorizationFailed
from elsa.kafka.events import event_error
from elsa.worker.refusals import Refusals

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.errors import ElsaError
    from elsa.message import TopicPartition
    from elsa.observer import GroupObserver
    from elsa.worker.spending import Spending
    from elsa.worker.surroundings import Surroundings

log = logging.getLogger("elsa.worker")


class Trouble:
    """Of one group manager, whose `name` is that of its group or of its standalone handler."""

    def __init__(
        self, group: str | None, name: str, around: Surroundings, observer: GroupObserver, spending: Spending
    ) -> None:
        self._group = group
        self._name = name
        self._around = around
        self._observer = observer
        self._spending = spending
        #: what a callback has raised, until it is raised by a poll
        self.pending: BaseException | None = None
        #: whether the group has ever taken this member
        self.has_begun = False
        self.refusals = Refusals(around.clock)

    def guarded(self, callback: Callable[[list[TopicPartition]], None]) -> Callable[[list[TopicPartition]], None]:
        """A callback that never raises into the client; what it raised is raised by the manager's poll afterwards."""

        def run(partitions: list[TopicPartition]) -> None:
            before = self._spending.enter("rebalance")
            try:
                callback(partitions)
            except BaseException as error:
                self.pending = error
            finally:
                self._spending.enter(before)

        return run

    def raise_pending(self) -> None:
        """Raise what a callback has raised, once."""
        pending, self.pending = self.pending, None
        if pending is not None:
            raise pending

    def report(self, code: str, text: str) -> None:
        """Say the same trouble once a minute, count it always."""
        if code == "_ALL_BROKERS_DOWN":
            self._around.doubt()
        self._observer.error(code, text)
        log.warning("kafka: %s", text, extra={"event": "kafka_error", "group": self._name, "code": code, "limit": code})

    def passing(self, raw: Any) -> None:
        """An error was polled that passes by itself."""
        self.report(raw.error().name(), str(event_error(raw, self._around.app.settings, self._group)))

    def refused(self, raw: Any) -> None:
        """What the brokers refuse until somebody changes something: a topic waits for that, others go on meanwhile.

        A group that was never joined ends the worker; one that works already stays, to go on when it is mended.
        """
        error: ElsaError = event_error(raw, self._around.app.settings, self._group)
        self.report(getattr(error, "code", ""), str(error))
        if error.topic is not None and isinstance(error, AuthorizationFailed):
            self.refusals.add(error.topic, " ".join(str(error).split()))
        if error.topic is None and not self.has_begun:
            self.fail(f"group {self._name} cannot be joined: {error}", exits.code_of(error))

    def fail(self, text: str, code: int = exits.FAILED) -> None:
        """The work of this process cannot go on; with the code that it ends with."""
        self._around.fail(text, code)
