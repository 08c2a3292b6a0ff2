"""Copies of messages that leave their lane: dead letters, and those that wait in a delay topic to be tried again.

The offset of the original stays unfinished until the broker has its copy. A copy is sent again with pauses until then;
one that is too large is made smaller.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any, ClassVar

from elsa import names
from elsa.delays import topics as delay_topics
from elsa.errors import ElsaError, MessageTooLarge, UnknownPartition, UnknownTopic
from elsa.outcome import Kind
from elsa.policies import dead_letter, delay, retried
from elsa.policies.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.headers import Pairs
    from elsa.message import Message
    from elsa.outcome import Outcome
    from elsa.producer import Delivery
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.settlement import Settlement

log = logging.getLogger("elsa.worker")

#: dead letters are kept 30 days, and so is what waits for a group that is stopped
RETENTION_MILLISECONDS = 30 * 24 * 3600 * 1000


class Copy:
    """One copy on its way; `settled(raw)` once the broker has it.

    `send` is called by executors and the settlement's thread, reports come on the producer's; never two at once.
    """

    #: for the log, and the event's name
    what: ClassVar[tuple[str, str]]

    def __init__(
        self,
        settlement: Settlement,
        worker: PartitionWorker,
        raw: Any,
        outcome: Outcome,
        settled: Callable[[Any], None],
    ) -> None:
        self.worker = worker
        self.outcome = outcome
        self._settlement = settlement
        self._app = worker.app
        self._raw = raw
        self._settled = settled
        self._backoff = Backoff(first=0.5, most=30.0)
        #: how often it was made smaller
        self._reduction = 0
        self._handler = worker.binding.name_for(raw)

    def send(self) -> None:
        try:
            delivery = self._sent(self.worker.to_message(self._raw))
        except (UnknownTopic, UnknownPartition) as error:
            topic = error.topic or ""
            self._settlement.made.discard(topic)
            # creating waits for the broker: not on the producer's or the handler's thread
            self._settlement.later(0, lambda: self._create_and_send(topic))
        except Exception as error:  # border: whatever refuses the copy, the message must not be lost
            self._refused(error)
        else:
            delivery.add_done_callback(self._reported)

    def _sent(self, message: Message) -> Delivery:
        """Send it from where its call ran, so that it continues the trace of that."""
        scope = self.outcome.scope
        # several copies may have one scope, and a context cannot be entered twice at once
        return self._send(message) if scope is None else scope.copy().run(self._send, message)

    def _send(self, message: Message) -> Delivery:
        raise NotImplementedError

    def _create(self, topic: str) -> None:
        """Make a topic that is missing, or give it the partitions that are."""
        raise NotImplementedError

    def _smaller(self) -> Copy | None:
        """What to send instead of a copy that is too large, None when there is nothing left to leave out."""
        raise NotImplementedError

    def _accepted(self) -> None:
        """The broker has the copy."""

    def _headers(self, make: Callable[[Outcome], Pairs]) -> Pairs:
        """Headers that say what the error was, also when the text of the user's exception raises itself."""
        try:
            return make(self.outcome)
        except Exception as broken:  # border: see above
            kind, cause = type(self.outcome.error).__qualname__, type(broken).__qualname__
            error = RuntimeError(f"{kind}, whose text cannot be made ({cause})")
            reason = self.outcome.reason.encode(errors="replace").decode()
            return make(dataclasses.replace(self.outcome, reason=reason, error=error))

    def _reported(self, delivery: Delivery) -> None:
        error = delivery.exception()
        if error is not None:
            self._refused(error)
            return
        self._accepted()
        self._settled(self._raw)

    def _create_and_send(self, topic: str) -> None:
        try:
            if topic not in self._settlement.made:
                self._create(topic)
                self._settlement.made.add(topic)
        except Exception as error:  # border: as in send
            self._refused(error)
            return
        self.send()

    def _beside(self, topic: str, config: dict[str, str]) -> None:
        """Make a topic with the partitions of the source, so that copies keep their key's company."""
        topics, source = self._app.topics, self.worker.source
        count = topics.partition_count(source)
        try:
            limit = topics.describe(source).config.get("max.message.bytes")
        except ElsaError:
            limit = None
        if limit is not None:
            config["max.message.bytes"] = str(int(limit) + dead_letter.EXTRA_BYTES)
        topics.create(topic, partitions=count, config=config, exist_ok=True)

    def _refused(self, error: BaseException) -> None:
        if isinstance(error, MessageTooLarge) and (smaller := self._smaller()) is not None:
            self._settlement.later(0, smaller.send)
            return
        pause = self._backoff.next()
        text, event = self.what
        log.warning(
            "%s could not be written, its partition holds until it is",
            text,
            extra={
                "event": event,
                "source": dead_letter.origin(self.worker.to_message(self._raw)),
                "error": str(error),
                "retry_in_seconds": round(pause, 1),
            },
        )
        if not self.worker.closed:
            self._settlement.pause(self, pause)
        else:
            self.worker.conclusion.give_up_settling()


class DeadLetter(Copy):
    """A message that is given up."""

    what = ("dead letter", "dead_letter_refused")

    def _send(self, message: Message) -> Delivery:
        worker = self.worker
        named = worker.binding.first.declared.dead_letter
        topic = named or names.dead_letter_topic(worker.source, worker.group, self._app.name)
        headers = self._headers(
            lambda outcome: dead_letter.headers(
                message,
                outcome,
                self._handler,
                with_traceback=self._reduction == 0,
                with_message=self._app.settings.dlq_exception_message,
            )
        )
        # at last a stub: it says where the original lies
        value = message.value if self._reduction < 2 else b""
        sent: Delivery = self._app.producer.send(topic, value, key=message.key, headers=headers)
        return sent

    def _create(self, topic: str) -> None:
        self._beside(topic, {"retention.ms": str(RETENTION_MILLISECONDS)})

    def _smaller(self) -> Copy | None:
        self._reduction += 1
        return self if self._reduction <= 2 else None

    def _accepted(self) -> None:
        self.worker.observer_of(self._handler).dead_letter(self.outcome.reason)


class Later(Copy):
    """A message that is tried again when it is due: through a delay topic into its group's retry topic."""

    what = ("retry", "retry_refused")

    def __init__(
        self,
        settlement: Settlement,
        worker: PartitionWorker,
        raw: Any,
        outcome: Outcome,
        settled: Callable[[Any], None],
    ) -> None:
        super().__init__(settlement, worker, raw, outcome, settled)
        assert worker.group is not None
        self._target = names.retry_topic(worker.source, worker.group)
        self._due = worker.clock.now() + outcome.delay

    def _send(self, message: Message) -> Delivery:
        producer, key = self._app.producer, message.key
        # nothing may wait for a topic or partition that is not there
        producer.target(self._target, key, message.partition)
        headers = self._headers(
            lambda outcome: retried.headers(
                message,
                outcome,
                self._handler,
                due=self._due,
                target=f"{self._target}:{message.partition}",
                with_error=self._reduction == 0,
                with_message=self._app.settings.dlq_exception_message,
            )
        )
        hop = delay.next_hop(headers, now=self.worker.clock.now(), app=self._app.name)
        assert hop is not None
        sent: Delivery = producer.send(hop.topic, message.value, key=key, headers=hop.headers, partition=hop.partition)
        return sent

    def _create(self, topic: str) -> None:
        if topic != self._target:
            delay_topics.create(self._app)
            return
        topics = self._app.topics
        self._beside(topic, {"retention.ms": str(RETENTION_MILLISECONDS)})
        if topics.partition_count(topic) < (count := topics.partition_count(self.worker.source)):
            # the source has grown since
            topics.add_partitions(topic, count)
        self._settlement.topic_made(topic)

    def _smaller(self) -> Copy | None:
        self._reduction += 1
        if self._reduction == 1:
            return self
        # there is no delay topic that takes it: it has had its last attempt
        outcome = dataclasses.replace(self.outcome, kind=Kind.DEAD, reason="exhausted")
        return DeadLetter(self._settlement, self.worker, self._raw, outcome, self._settled)
