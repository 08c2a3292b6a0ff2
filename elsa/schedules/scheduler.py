"""The scheduler: fires periodic tasks, each fire time once; one thread of each worker process.

Any number of schedulers share the partitions of one topic as a consumer group, without a leader; a schedule belongs to
the partition that its name says. A session that breaks is made anew, and reads at its start what has been fired.
"""

from __future__ import annotations

import logging
import secrets
import threading
from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.errors import BrokerUnavailable, KafkaError
from elsa.kafka.consumer import GroupConsumer
from elsa.kafka.errors import ClientException, translate
from elsa.kafka.transactions import TransactionalProducer
from elsa.names import schedules_topic
from elsa.policies.backoff import Backoff
from elsa.schedules import topic
from elsa.schedules.declared import SHARDS
from elsa.schedules.session import Session, Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.app import App
    from elsa.clock import Clock

log = logging.getLogger("elsa.schedules")

#: how often it is looked for the topic while it is missing
LOOK_SECONDS = 1.0
MOST_PAUSE_SECONDS = 10.0


class Scheduler:
    """`start`, `stop` and `join` may be called from any thread; everything else belongs to the scheduler's own."""

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
        group = f"{app.name}.scheduler"
        self._around = Surroundings(
            app=app,
            schedules=tuple(app.schedules),
            group=group,
            clock=clock,
            group_observer=app.observer.group(group),
            observers={one.name: app.observer.schedule(one.name) for one in app.schedules},
            make_consumer=make_consumer,
            make_producer=make_producer,
        )
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._main, name=f"elsa-scheduler-{app.name}", daemon=True)

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
            count = topic.partition_count(self._app)
            if count < SHARDS:
                return self._wait_for_topic(count)
            self._session = Session(self._around, f"{self._instance}-scheduler", is_static=self._is_static)
            self._session.open()
        except Exception as error:  # border: whatever breaks is made anew; what is not sent is still due
            self._end(leave=False)
            return self._failed(error)
        return 0.0

    def _wait_for_topic(self, count: int) -> float:
        if not count and self._app.settings.creates_topics:
            topic.create(self._app)
            return LOOK_SECONDS / 10
        name = schedules_topic(self._app.name)
        why, hint = topic.obstacle(name, count)
        log.warning(
            "periodic tasks do not fire: %s",
            why,
            extra={"event": "schedules_topic_missing", "topic": name, "hint": hint, "limit": "topic missing"},
        )
        return LOOK_SECONDS

    def _end(self, *, leave: bool) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        try:
            session.close(leave=leave)
        except Exception as error:  # border: the clients are given up anyhow
            log.debug("the clients of the scheduler did not end well: %s", error)

    def _failed(self, error: Exception) -> float:
        """Say that the session broke; how long to wait before the next."""
        known = translate(error)
        if "group.instance.id" in str(known):
            # another process has our id: it wins, and this one never comes back with it
            self._instance = f"{self._own_instance}-{secrets.token_hex(3)}"
        pause = self._backoff.next()
        self._around.group_observer.restarted("group", type(known).__name__)
        is_kafkas = isinstance(error, KafkaError | ClientException)
        log.log(
            logging.INFO if isinstance(known, BrokerUnavailable) else logging.WARNING,
            "the scheduler of periodic tasks starts anew: %s",
            str(known).splitlines()[0],
            exc_info=None if is_kafkas else error,
            extra={
                "event": "scheduler_restart",
                "in_seconds": round(pause, 1),
                "limit": ("restart", type(known).__name__),
            },
        )
        return pause
