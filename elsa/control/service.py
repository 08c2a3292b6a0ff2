"""Listens for commands in a worker process, has them obeyed, answers, and reports how the process is.

A thread with clients of its own, so that neither handlers, nor a group manager, nor a full producer hold it up.
Started by `elsa.worker.runtime`, which says what a command does (`obey`) and how the process is (`describe`).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from elsa.clock import SYSTEM
from elsa.control import topics
from elsa.control.protocol import STATUS_SECONDS, Answer, Command, Status, decode, encode
from elsa.delays.brokerclock import BrokerClock
from elsa.errors import AuthorizationFailed, ElsaError, UnknownTarget, UnknownTopic
from elsa.kafka.producer import ProducerClient
from elsa.kafka.reader import OutOfRange, Reader
from elsa.message import Message
from elsa.names import control_topic, status_topic
from elsa.policies.backoff import Backoff
from elsa.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.delivery import Delivery

log = logging.getLogger("elsa.control")

_HINT = "`elsa topics create {} --partitions 1` makes it; DESIGN.md has the settings of internal topics"
#: longest wait for a command: how late a stop may be noticed
_POLL_SECONDS = 0.1
#: how long an answer may take to the broker
_SEND_SECONDS = 5.0
#: how long the last report may take when the process ends
_END_SECONDS = 1.0


class Obedient(Protocol):
    """What the runtime has to offer."""

    def obey(self, command: Command) -> tuple[Any, Callable[[], None] | None]:
        """Do it: what to answer, and what to do when that has been sent. Raises UnknownTarget, or what went wrong."""
        ...

    def describe(self, ignored: int) -> Status:
        """How this process is; `ignored` is a fact that only the service knows."""
        ...


class Service:
    """`start`, `finish` and `stop` may be called from any thread, also twice; everything else belongs to its own."""

    def __init__(
        self, app: App, worker: Callable[[], str], slot: int | None, obedient: Obedient, *, clock: Clock = SYSTEM
    ) -> None:
        self._app = app
        #: the process's name, which changes when another one has it
        self._worker = worker
        self._slot = slot
        self._obedient = obedient
        self._clock = clock
        self._control = control_topic(app.name)
        self._status = status_topic(app.name)
        # An answer that comes late is of no use, twice does not matter, and nothing here is ever many. An id for
        # idempotence would have to be had first, which a fresh cluster refuses for a while.
        settings = dataclasses.replace(app.settings, send_timeout=_SEND_SECONDS, send_linger=0.0, send_buffer=1_000)
        connect = functools.partial(ProducerClient, is_idempotent=False, on_throttled=app.observer.throttled)
        self._producer = Producer(settings, connect=connect)
        self._time = BrokerClock(clock)
        #: (sent, confirmed, stamped) of reports, from the producer's thread
        self._stamps: deque[tuple[float, float, float]] = deque(maxlen=10)
        self._reports_at = 0.0
        self._is_warned = False
        #: messages in the topic that are nothing of this version's
        self.ignored = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._main, name=f"elsa-commands-{app.name}", daemon=True)

    # -- from any thread -----------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Take no more commands and say that this process ends; `stop` waits for that."""
        self._stopping.set()

    def stop(self, timeout: float = 2 * _END_SECONDS) -> None:
        """End within `timeout` seconds; while Kafka is away, the last report is given up."""
        self.finish()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        # in case it is still asking for something: what it has sent must not hold up the end of the process
        self._producer.close(0, quietly=True)

    # -- the thread ----------------------------------------------------------------------------------

    def _main(self) -> None:
        backoff = Backoff(first=0.5, most=10.0)
        while not self._stopping.is_set():
            try:
                self._session(backoff)
            except Exception as error:  # border: whatever breaks is begun anew; commands of meanwhile have expired
                self._tell(error)
                self._stopping.wait(backoff.next())
        try:
            if self._reports_at:
                self._producer.send(self._status, None, key=self._worker(), partition=0, block=False)
        except ElsaError as error:
            log.debug("the end of this process could not be reported: %s", error)
        # reports that did not get there are nobody's loss
        self._producer.close(_END_SECONDS, quietly=True)

    def _tell(self, error: Exception) -> None:
        """That Kafka is away is said by others; what waiting does not mend is a warning."""
        needs_help = isinstance(error, UnknownTopic | AuthorizationFailed) or not isinstance(error, ElsaError)
        if isinstance(error, UnknownTopic):
            if self._is_warned:
                return
            self._is_warned = True
        log.log(
            logging.WARNING if needs_help else logging.INFO,
            "`elsa inspect` and `elsa control` do not reach this worker: %s",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
            exc_info=None if isinstance(error, ElsaError) else error,
            extra={
                "event": "control_restart",
                "limit": f"control {type(error).__name__}",
                **({"hint": _HINT.format(error.topic)} if isinstance(error, UnknownTopic) else {}),
            },
        )

    def _session(self, backoff: Backoff) -> None:
        """One reader, from its start at the end of the topic to its end."""
        end = self._end_of_commands()
        with Reader(self._app.settings, prefetch_kilobytes=1_024) as reader:
            reader.assign(self._control, {0: end})
            self._reports_at = self._clock.monotonic()
            while not self._stopping.is_set():
                if self._clock.monotonic() >= self._reports_at:
                    self._report()
                for item in reader.read(_POLL_SECONDS):
                    if isinstance(item, Message):
                        self._take(item)
                    elif isinstance(item, OutOfRange):
                        # the topic was made anew
                        return
                backoff.reset()

    def _end_of_commands(self) -> int:
        """Where the next command will lie; makes the topics where they are missing and the settings allow it."""
        known = self._app.topics.list(internal=True)
        missing = [name for name in (self._status, self._control) if name not in known]
        if missing and not self._app.settings.creates_topics:
            raise UnknownTopic(f"topic {missing[-1]!r} does not exist", topic=missing[-1])
        if missing:
            topics.create(self._app.topics, self._app.settings)
        return self._app.topics.watermarks(self._control)[0][1]

    # -- commands ------------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        found = decode(message.value)
        if found is None:
            self.ignored += 1
            self._count("unreadable")
        if not isinstance(found, Command) or not found.target.is_for(self._worker(), self._slot):
            return
        self._learn()
        if message.timestamp is not None and self._time.now() - message.timestamp > found.ttl:
            self._count("late")
            log.warning(
                "a command came too late and was left",
                extra={"event": "command_expired", "command": found.name, "seconds": round(found.ttl, 1)},
            )
            return
        answer, then = self._obey(found)
        self._send(answer)
        if then is not None:
            then()

    def _obey(self, command: Command) -> tuple[Answer, Callable[[], None] | None]:
        facts: dict[str, Any] = {"id": command.id, "worker": self._worker()}
        try:
            result, then = self._obedient.obey(command)
        except UnknownTarget as error:
            self._count("absent")
            return Answer(**facts, error=str(error), is_absent=True), None
        except Exception as error:  # border: a command that cannot be obeyed is answered, and ends nothing
            if not isinstance(error, ElsaError | ValueError):
                log.exception("a command failed", extra={"event": "command_failed", "command": command.name})
            self._count("refused")
            return Answer(**facts, error=str(error) or type(error).__name__), None
        self._count("ok")
        return Answer(**facts, result=result), then

    def _count(self, outcome: str) -> None:
        self._app.observer.commanded(outcome)

    def _send(self, answer: Answer) -> None:
        """Answer, and see that it gets there: what follows may end this process."""
        try:
            sent = self._producer.send(self._control, encode(answer), key=answer.id, partition=0, block=False)
            sent.result(_SEND_SECONDS)
        except (ElsaError, TimeoutError) as error:
            log.warning("a command could not be answered: %s", error, extra={"event": "answer_failed"})

    # -- reports -------------------------------------------------------------------------------------

    def _report(self) -> None:
        self._reports_at = self._clock.monotonic() + STATUS_SECONDS
        status = self._obedient.describe(self.ignored)
        sent = self._clock.monotonic()
        delivery = self._producer.send(self._status, encode(status), key=self._worker(), partition=0, block=False)
        delivery.add_done_callback(lambda done: self._stamped(done, sent))
        self._learn()

    def _stamped(self, delivery: Delivery, sent: float) -> None:
        """In the producer's thread."""
        if delivery.timestamp is not None:
            self._stamps.append((delivery.timestamp, self._clock.monotonic(), sent))

    def _learn(self) -> None:
        """What the broker's clock says."""
        while self._stamps:
            self._time.learn(*self._stamps.popleft())
