"""The mover: lets delayed messages go when they are due, exactly once from topic to topic; one thread of each worker.

Any number of movers share the delay topics' partitions as one consumer group, without a leader. What is due in all of
them is moved by one transaction, a few times a second: the copies and the offsets of their sources appear together or
not at all. A mover that is killed leaves an open transaction, which its successor aborts when it takes over the id.
"""

from __future__ import annotations

import logging
import secrets
import threading
from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.delays import topics as delay_topics
from elsa.delays.session import Session, Surroundings
from elsa.errors import AuthorizationFailed, BrokerUnavailable, KafkaError
from elsa.kafka.consumer import GroupConsumer
from elsa.kafka.errors import ClientException, translate
from elsa.kafka.transactions import TransactionalProducer
from elsa.policies.backoff import Backoff
from elsa.policies.delay import TIERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from elsa.app import App
    from elsa.clock import Clock

log = logging.getLogger("elsa.delays")

#: how often it is looked whether there are delayed messages at all
LOOK_SECONDS = 1.0
#: longest pause after a session that broke
MOST_PAUSE_SECONDS = 10.0


class Mover:
    """`start`, `stop` and `join` may be called from any thread; everything else belongs to the mover's own."""

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
        self._instance = self._own_instance = instance
        self._is_static = is_static
        self._stopping = threading.Event()
        self._leaves = True
        self._backoff = Backoff(first=0.5, most=MOST_PAUSE_SECONDS)
        self._topics = dict(zip(delay_topics.delay_topics(app.name), TIERS, strict=True))
        self.group = f"{app.name}.mover"
        self._around = Surroundings(
            settings=app.settings,
            group=self.group,
            seconds=self._topics,
            clock=clock,
            topics=app.topics,
            owned=app.groups.owned,
            is_stopping=self._stopping.is_set,
            group_observer=app.observer.group(self.group),
            observer=app.observer.mover(),
            on_throttled=app.observer.throttled,
            make_consumer=make_consumer,
            make_producer=make_producer,
        )
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._main, name=f"elsa-mover-{app.name}", daemon=True)

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
        session = self._session
        return session is not None and session.is_ready

    @property
    def waiting(self) -> int:
        """How many delayed messages are held in memory."""
        session = self._session
        return sum(len(shelf) for shelf in list(session.shelves.values())) if session is not None else 0

    # -- the thread ----------------------------------------------------------------------------------

    def _main(self) -> None:
        while not self._stopping.is_set():
            pause = self.step()
            if pause:
                self._stopping.wait(pause)
        self._end(leave=self._leaves)

    def step(self) -> float:
        """One look, or one turn; how many seconds to wait before the next."""
        try:
            if self._session is not None:
                self._session.turn()
                if self._session.is_ready:
                    self._backoff.reset()
                return 0.0
            partitions = self._look()
            if partitions is None:
                return LOOK_SECONDS
            self._session = Session(
                self._around, f"{self._instance}-mover", is_static=self._is_static, partitions=partitions
            )
            self._session.open()
        except Exception as error:  # border: whatever breaks is made anew; what is not moved stays where it is
            self._end(leave=False)
            return self._failed(error)
        return 0.0

    def _end(self, *, leave: bool) -> None:
        session = self._session
        if session is None:
            return
        if session.was_fenced:
            self._rename()
        self._session = None
        try:
            session.close(leave=leave)
        except Exception as error:  # border: the clients are given up anyhow
            log.debug("the clients of the mover did not end well: %s", error)

    def _look(self) -> Mapping[str, int] | None:
        """The partitions of the topics that delayed messages need; None until there are all of them.

        The first one who puts a message off makes them, the shortest delay last.
        """
        shortest = next(iter(self._topics))
        try:
            refusal = self._around.topics.writable([shortest])[shortest].refusal
            if refusal is not None:
                if isinstance(refusal, AuthorizationFailed):
                    log.info(
                        "whether there are delayed messages may not be looked at: %s",
                        str(refusal).splitlines()[0],
                        extra={"event": "delay_forbidden", "topic": shortest, "limit": "forbidden"},
                    )
                return None
            found = self._around.topics.writable(list(delay_topics.wanted(self._app.name)))
            missing = sorted(topic for topic, answer in found.items() if answer.refusal is not None)
            if not missing:
                return {topic: answer.partitions for topic, answer in found.items()}
            if self._app.settings.creates_topics:
                delay_topics.create(self._app)
                return None
        except KafkaError as error:
            # those who read topics say that there is no broker; whoever delays nothing need not hear of it here
            log.debug("no look for delayed messages: %s", error)
            return None
        log.warning(
            "topics of delayed messages are missing or forbidden, nothing is moved: %s",
            ", ".join(missing),
            extra={
                "event": "delay_topics_missing",
                "topics": missing,
                "hint": str(found[missing[0]].refusal).splitlines()[0],
                "limit": "topics missing",
            },
        )
        return None

    def _rename(self) -> None:
        """Another process has our name: it wins, and this one never comes back with it."""
        old, self._instance = self._instance, f"{self._own_instance}-{secrets.token_hex(3)}"
        log.warning(
            "another worker's mover uses the same group.instance.id: this one goes on under a new one",
            extra={
                "event": "instance_fenced",
                "group": self.group,
                "instance": old,
                "new_instance": self._instance,
                "hint": "give each host its own ELSA_INSTANCE",
            },
        )

    def _failed(self, error: Exception) -> float:
        """Say that the session broke; how long to wait before the next."""
        pause = self._backoff.next()
        is_kafkas = isinstance(error, KafkaError | ClientException)
        known = translate(error)
        self._around.group_observer.restarted("group", type(known).__name__)
        log.log(
            logging.INFO if isinstance(known, BrokerUnavailable) else logging.WARNING,
            "the mover of delayed messages starts anew: %s",
            str(known).splitlines()[0],
            exc_info=None if is_kafkas else error,
            extra={"event": "mover_restart", "in_seconds": round(pause, 1), "limit": ("restart", type(known).__name__)},
        )
        return pause
