"""A thread that works in sessions and makes a broken one anew: what the mover and the scheduler have in common."""

from __future__ import annotations

import logging
import secrets
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from elsa.clock import SYSTEM
from elsa.errors import BrokerUnavailable, KafkaError
from elsa.kafka.errors import ClientException, translate
from elsa.policies.backoff import Backoff

if TYPE_CHECKING:
    from elsa.observer import GroupObserver

#: longest pause after a session that broke
MOST_PAUSE_SECONDS = 10.0


class Session(Protocol):
    """One membership of the group with its clients, from its start to its end."""

    is_ready: bool

    def open(self) -> None: ...

    def turn(self) -> None: ...

    def close(self, *, leave: bool) -> None: ...


class Renewing:
    """`start`, `stop`, `join` and what says how it is may be called from any thread; all else is the service's own.

    A subclass says when there is a session to be had (`_begin`), and what an error says of its name (`_failed`).
    """

    #: the thread's name, what the log calls it, and the event of a renewal
    what: ClassVar[tuple[str, str, str]]
    log: ClassVar[logging.Logger]

    #: the consumer group whose sessions it has
    group: str

    def __init__(self, app: str, instance: str, observer: GroupObserver) -> None:
        self._instance = self._own_instance = instance
        self._group_observer = observer
        self._stopping = threading.Event()
        self._leaves = True
        self._backoff = Backoff(first=0.5, most=MOST_PAUSE_SECONDS)
        self._session: Any = None
        #: when the thread came round last, monotonic by the machine's own clock
        self.polled_at = SYSTEM.monotonic()
        self._thread = threading.Thread(target=self._main, name=f"elsa-{self.what[0]}-{app}", daemon=True)

    # -- from any thread -----------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, leave: bool = True) -> None:
        """Finish the transaction that is under way and end; `join` waits for that. Idempotent."""
        self._leaves = leave
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for the end; False when it did not come in time."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def is_ready(self) -> bool:
        """Whether it is a member of its group."""
        session: Session | None = self._session
        return session is not None and session.is_ready

    @property
    def has_died(self) -> bool:
        """Whether its thread is gone though nobody has told it to end."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._stopping.is_set()

    # -- the thread ----------------------------------------------------------------------------------

    def _polled(self) -> None:
        """The thread goes on; what may wait for long within one step says so in between."""
        self.polled_at = SYSTEM.monotonic()

    def _main(self) -> None:
        try:
            while not self._stopping.is_set():
                self._polled()
                pause = self.step()
                if pause:
                    self._stopping.wait(pause)
        except BaseException:
            # nobody else would say why what it did is not done any more
            self.log.exception("%s ended", self.what[1], extra={"event": f"{self.what[0]}_ended"})
            raise
        self._end(leave=self._leaves)

    def step(self) -> float:
        """One look, or one turn; how many seconds to wait before the next."""
        try:
            if self._session is None:
                return self._begin()
            self._session.turn()
            if self._session.is_ready:
                self._backoff.reset()
        except Exception as error:  # border: whatever breaks is made anew; what is not done is still to be done
            self._end(leave=False)
            return self._failed(error)
        return 0.0

    def _begin(self) -> float:
        """Make and open `_session` if there is one to be had; how long to wait otherwise."""
        raise NotImplementedError

    def _end(self, *, leave: bool) -> None:
        session: Session | None
        session, self._session = self._session, None
        if session is None:
            return
        try:
            session.close(leave=leave)
        except Exception as error:  # border: the clients are given up anyhow
            self.log.debug("the clients of %s did not end well: %s", self.what[1], error)

    def _rename(self) -> None:
        """Another process has our name: it wins, and this one never comes back with it."""
        self._instance = f"{self._own_instance}-{secrets.token_hex(3)}"

    def _failed(self, error: Exception) -> float:
        """Say that the session broke; how long to wait before the next."""
        known = translate(error)
        pause = self._backoff.next()
        self._group_observer.restarted("group", type(known).__name__)
        is_kafkas = isinstance(error, KafkaError | ClientException)
        self.log.log(
            logging.INFO if isinstance(known, BrokerUnavailable) else logging.WARNING,
            "%s starts anew: %s",
            self.what[1],
            str(known).splitlines()[0],
            exc_info=None if is_kafkas else error,
            extra={
                "event": self.what[2],
                "in_seconds": round(pause, 1),
                "limit": ("restart", type(known).__name__),
            },
        )
        return pause
