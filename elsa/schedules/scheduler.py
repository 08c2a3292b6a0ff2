"""The scheduler: fires periodic tasks, each fire time once; one thread of each worker process.

Any number of schedulers share the partitions of one topic as a consumer group, without a leader; a schedule belongs to
the partition that its name says. A session that breaks is made anew, and reads at its start what has been fired.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.kafka.consumer import GroupConsumer
from elsa.kafka.errors import translate
from elsa.kafka.transactions import TransactionalProducer
from elsa.names import schedules_topic
from elsa.renewing import Renewing
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


class Scheduler(Renewing):
    """Of one worker process."""

    what = ("scheduler", "the scheduler of periodic tasks", "scheduler_restart")
    log = log

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
        self.group = f"{app.name}.scheduler"
        observer = app.observer.group(self.group)
        super().__init__(app.name, instance, observer)
        self._app = app
        self._is_static = is_static
        self._around = Surroundings(
            app=app,
            schedules=tuple(app.schedules),
            group=self.group,
            clock=clock,
            is_stopping=self._stopping.is_set,
            polled=self._polled,
            group_observer=observer,
            observers={one.name: app.observer.schedule(one.name) for one in app.schedules},
            make_consumer=make_consumer,
            make_producer=make_producer,
        )

    def _begin(self) -> float:
        count = topic.partition_count(self._app)
        if count < SHARDS:
            return self._wait_for_topic(count)
        self._session = Session(self._around, f"{self._instance}-scheduler", is_static=self._is_static)
        self._session.open()
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

    def _failed(self, error: Exception) -> float:
        if "group.instance.id" in str(translate(error)):
            self._rename()
        return super()._failed(error)
