"""Carries out outcomes that need the broker: dead-letter copies, and sends made inside a call.

A message is finished only when its copy, or every send of its call, is confirmed. While a copy cannot be
written it is tried again, with pauses; its offset stays unfinished, so the partition fills up and holds.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from elsa import names
from elsa.errors import ElsaError, MessageTooLarge, UnknownTopic
from elsa.kafka.producer import in_poll_thread
from elsa.policies import dead_letter
from elsa.policies.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.app import App
    from elsa.context import Context
    from elsa.outcome import Outcome
    from elsa.worker.partition import PartitionWorker

log = logging.getLogger("elsa.worker")

#: dead letters are kept 30 days
RETENTION_MILLISECONDS = 30 * 24 * 3600 * 1000


class Settlement:
    """Shared by all partition workers of a process; called from executor threads and the producer's thread.

    `_retries` (timers of copies that were refused) is guarded by `_lock`; `close` cancels them: their
    messages stay unfinished and come again.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._retries: set[threading.Timer] = set()
        self._closed = False

    # -- dead letters ------------------------------------------------------------------------------

    def dead_letter(self, worker: PartitionWorker, raw: Any, outcome: Outcome, settled: Callable[[Any], None]) -> None:
        """Copy the message to its dead-letter topic; `settled(raw)` once that is confirmed."""
        copy = _Copy(self, worker, raw, outcome, settled)
        if in_poll_thread():
            # a send was refused; looking the copy's topic up inside a report aborts the process (confluent-kafka 2.16)
            self.later(0, copy.send)
        else:
            copy.send()

    def later(self, seconds: float, run: Callable[[], None]) -> None:
        """Run something again after a pause, unless the process stops before."""
        with self._lock:
            if self._closed:
                return
            timer = threading.Timer(seconds, lambda: self._fire(timer, run))
            timer.daemon = True
            self._retries.add(timer)
            timer.start()

    def _fire(self, timer: threading.Timer, run: Callable[[], None]) -> None:
        with self._lock:
            self._retries.discard(timer)
            if self._closed:
                return
        run()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            timers, self._retries = list(self._retries), set()
        for timer in timers:
            timer.cancel()
        for timer in timers:
            if timer is not threading.current_thread():
                timer.join()

    # -- sends made inside a call ------------------------------------------------------------------

    def confirm_sends(
        self,
        raw: Any,
        context: Context,
        settled: Callable[[Any], None],
        failed: Callable[[Any, BaseException, int], None],
    ) -> None:
        """`settled(raw)` when all sends of the call are confirmed, `failed(raw, error, attempt)` if one is not."""
        # a copy: a thread that the handler left behind may go on sending
        sends = list(context.sends or ())

        def decide(error: BaseException | None) -> None:
            if error is None:
                settled(raw)
            else:
                failed(raw, error, context.attempt)

        pending = _Pending(len(sends), decide)
        for send in sends:
            send.add_done_callback(pending.one)


class _Pending:
    """Counts confirmations down; callbacks come on the producer's thread or at once in the caller's."""

    def __init__(self, count: int, done: Callable[[BaseException | None], None]) -> None:
        self._lock = threading.Lock()
        self._count = count
        self._error: BaseException | None = None
        self._done = done

    def one(self, send: Any) -> None:
        error = send.exception()
        with self._lock:
            self._count -= 1
            self._error = self._error or error
            last = self._count == 0
        if last:
            self._done(self._error)


class _Copy:
    """One dead letter on its way: sent, and sent again with pauses until the broker has it."""

    def __init__(
        self,
        settlement: Settlement,
        worker: PartitionWorker,
        raw: Any,
        outcome: Outcome,
        settled: Callable[[Any], None],
    ) -> None:
        self._settlement = settlement
        self._app = settlement._app
        self._worker = worker
        self._raw = raw
        self._outcome = outcome
        self._settled = settled
        self._backoff = Backoff(first=0.5, most=30.0)
        #: 0 the whole copy, 1 without the traceback, 2 a stub without the body
        self._reduction = 0
        handler = worker.router.invoker(raw)
        self._handler = handler.handler.name if handler is not None else worker.binding.name
        named = worker.binding.first.declared.dead_letter
        self.topic = named or names.dead_letter_topic(raw.topic(), worker.group, self._app.name)

    def send(self) -> None:
        message = self._worker.to_message(self._raw)
        headers = dead_letter.headers(message, self._outcome, self._handler, with_traceback=self._reduction == 0)
        value = message.value if self._reduction < 2 else b""
        try:
            delivery = self._app.producer.send(self.topic, value, key=message.key, headers=headers)
        except UnknownTopic:
            self._create_topic()
        except Exception as error:  # border: whatever refuses the copy, the message must not be lost
            self._refused(error)
        else:
            delivery.add_done_callback(self._reported)

    def _reported(self, delivery: Any) -> None:
        error = delivery.exception()
        if error is None:
            self._worker.observer.dead_letter(self._outcome.reason)
            self._settled(self._raw)
        else:
            self._refused(error)

    def _create_topic(self) -> None:
        # creating waits for the broker: not on the producer's or the handler's thread
        self._settlement.later(0, self._create_and_send)

    def _create_and_send(self) -> None:
        try:
            # as many partitions as the source, so that copies keep their key's company
            count = self._app.topics.partition_count(self._raw.topic())
            self._app.topics.create(self.topic, partitions=count, config=self._topic_config(), exist_ok=True)
        except ElsaError as error:
            self._refused(error)
            return
        self.send()

    def _topic_config(self) -> dict[str, str]:
        config = {"retention.ms": str(RETENTION_MILLISECONDS)}
        try:
            limit = self._app.topics.describe(self._raw.topic()).config.get("max.message.bytes")
        except ElsaError:
            limit = None
        if limit is not None:
            config["max.message.bytes"] = str(int(limit) + dead_letter.EXTRA_BYTES)
        return config

    def _refused(self, error: BaseException) -> None:
        if isinstance(error, MessageTooLarge) and self._reduction < 2:
            self._reduction += 1
            self._settlement.later(0, self.send)
            return
        pause = self._backoff.next()
        log.warning(
            "dead letter could not be written, its partition holds until it is",
            extra={
                "event": "dead_letter_refused",
                "topic": self.topic,
                "source": dead_letter.origin(self._worker.to_message(self._raw)),
                "error": str(error),
                "retry_in_seconds": round(pause, 1),
            },
        )
        if not self._worker.closed:
            self._settlement.later(pause, self.send)
        else:
            self._worker.give_up_settling()
