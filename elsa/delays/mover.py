"""The mover: lets delayed messages go when they are due, exactly once from topic to topic; one thread of each worker.

Any number of movers share the delay topics' partitions as one consumer group, without a leader. What is due in all of
them is moved by one transaction, a few times a second: the copies and the offsets of their sources appear together or
not at all. A mover that is killed leaves an open transaction, which its successor aborts when it takes over the id.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.delays import topics as delay_topics
from elsa.delays.session import Session, Surroundings
from elsa.errors import AuthorizationFailed, KafkaError
from elsa.kafka.consumer import GroupConsumer
from elsa.kafka.membership import FENCED_HINT
from elsa.kafka.transactions import TransactionalProducer
from elsa.policies.delay import TIERS
from elsa.renewing import Renewing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from elsa.app import App
    from elsa.clock import Clock

log = logging.getLogger("elsa.delays")

#: how often it is looked whether there are delayed messages at all
LOOK_SECONDS = 1.0


class Mover(Renewing):
    """Of one worker process."""

    what = ("mover", "the mover of delayed messages", "mover_restart")
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
        self.group = f"{app.name}.mover"
        observer = app.observer.group(self.group)
        super().__init__(app.name, instance, observer)
        self._app = app
        self._is_static = is_static
        self._topics = dict(zip(delay_topics.delay_topics(app.name), TIERS, strict=True))
        self._around = Surroundings(
            settings=app.settings,
            group=self.group,
            seconds=self._topics,
            clock=clock,
            topics=app.topics,
            owned=app.groups.owned,
            is_stopping=self._stopping.is_set,
            polled=self._polled,
            group_observer=observer,
            observer=app.observer.mover(),
            on_throttled=app.observer.throttled,
            make_consumer=make_consumer,
            make_producer=make_producer,
        )

    @property
    def waiting(self) -> int:
        """How many delayed messages are held in memory."""
        session = self._session
        return sum(len(shelf) for shelf in list(session.shelves.values())) if session is not None else 0

    def _begin(self) -> float:
        partitions = self._look()
        if partitions is None:
            return LOOK_SECONDS
        self._session = Session(
            self._around, f"{self._instance}-mover", is_static=self._is_static, partitions=partitions
        )
        self._session.open()
        return 0.0

    def _end(self, *, leave: bool) -> None:
        if self._session is not None and self._session.was_fenced:
            self._rename()
        super()._end(leave=leave)

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
                        refusal,
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
                "hint": str(found[missing[0]].refusal),
                "limit": "topics missing",
            },
        )
        return None

    def _rename(self) -> None:
        old = self._instance
        super()._rename()
        log.warning(
            "another worker's mover uses the same group.instance.id: this one goes on under a new one",
            extra={
                "event": "instance_fenced",
                "group": self.group,
                "instance": old,
                "new_instance": self._instance,
                "hint": FENCED_HINT,
            },
        )
