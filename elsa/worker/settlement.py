"""Carries out outcomes that need the broker: dead-letter copies, and sends made inside a call.

A message is finished only when its copy, or every send of its call, is confirmed. While a copy cannot be
written it is tried again, with pauses; its offset stays unfinished, so the partition fills up and holds.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import logging
import threading
from typing import TYPE_CHECKING, Any

from elsa import names
from elsa.clock import SYSTEM
from elsa.errors import ElsaError, MessageTooLarge, UnknownTopic
from elsa.policies import dead_letter
from elsa.policies.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.app import App
    from elsa.context import Context
    from elsa.message import Message
    from elsa.outcome import Outcome
    from elsa.worker.partition import PartitionWorker

log = logging.getLogger("elsa.worker")

#: dead letters are kept 30 days
RETENTION_MILLISECONDS = 30 * 24 * 3600 * 1000
#: how long `close` waits for the copy that is just being sent
_CLOSE_SECONDS = 5.0


class Settlement:
    """Shared by all partition workers of a process; called from executor threads and the producer's thread.

    Whatever has to wait runs on one thread of its own, made when it is needed. `_waiting` (what is to run, by time)
    and `_paused` (copies that were refused) are guarded by `_changed`; `close` forgets them: their messages stay
    unfinished and come again.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._paused: set[_Copy] = set()
        self._thread: threading.Thread | None = None
        self._closed = False
        #: dead-letter topics that were made here and not found missing since
        self.made: set[str] = set()

    # -- dead letters ------------------------------------------------------------------------------

    def dead_letter(self, worker: PartitionWorker, raw: Any, outcome: Outcome, settled: Callable[[Any], None]) -> None:
        """Copy the message to its dead-letter topic; `settled(raw)` once that is confirmed."""
        _Copy(self, worker, raw, outcome, settled).send()

    def pause(self, copy: _Copy, seconds: float) -> None:
        """Send a copy again after a pause, or as soon as its worker ends."""
        with self._changed:
            self._paused.add(copy)
        # it may have ended, and hurried what was there, just before
        self.later(0 if copy.worker.closed else seconds, lambda: self._resume(copy))

    def _resume(self, copy: _Copy) -> None:
        with self._changed:
            if copy not in self._paused:
                return
            self._paused.discard(copy)
        copy.send()

    def hurry(self, worker: PartitionWorker) -> None:
        """A worker ends: its refused copies are tried once more now, nobody waits for their pauses."""
        with self._changed:
            copies = [copy for copy in self._paused if copy.worker is worker]
        for copy in copies:
            self.later(0, lambda copy=copy: self._resume(copy))  # type: ignore[misc]  # binds this turn's copy

    # -- what has to wait --------------------------------------------------------------------------

    def later(self, seconds: float, run: Callable[[], None]) -> None:
        """Run something after a pause on the thread of the settlement, unless the process stops before."""
        with self._changed:
            if self._closed:
                return
            heapq.heappush(self._waiting, (SYSTEM.monotonic() + seconds, next(self._numbers), run))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="elsa-settlement", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _work(self) -> None:
        while (run := self._next()) is not None:
            try:
                run()
            except Exception:  # border: one that fails must not keep the others from being settled
                log.exception("settlement failed", extra={"event": "settlement_failed"})

    def _next(self) -> Callable[[], None] | None:
        """What is due next, waiting for it; None at the end."""
        with self._changed:
            while not self._closed:
                left = self._waiting[0][0] - SYSTEM.monotonic() if self._waiting else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(left)
            return None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._paused.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSE_SECONDS)

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
                # A dead letter may follow. Looking its topic up inside a delivery report, on whatever thread a
                # flush or a poll brings that, aborts the process (confluent-kafka 2.16).
                self.later(0, lambda: failed(raw, error, context.attempt))

        if not sends:
            # a thread that the handler left behind has just begun to send
            settled(raw)
            return
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
        self.worker = worker
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
        try:
            message = self.worker.to_message(self._raw)
            headers = self._headers(message)
            value = message.value if self._reduction < 2 else b""
            delivery = self._app.producer.send(self.topic, value, key=message.key, headers=headers)
        except UnknownTopic:
            self._settlement.made.discard(self.topic)
            self._create_topic()
        except Exception as error:  # border: whatever refuses the copy, the message must not be lost
            self._refused(error)
        else:
            delivery.add_done_callback(self._reported)

    def _headers(self, message: Message) -> Any:
        with_traceback = self._reduction == 0
        try:
            return dead_letter.headers(message, self._outcome, self._handler, with_traceback=with_traceback)
        except Exception as broken:  # border: the text of the user's exception raises itself
            kind, cause = type(self._outcome.error).__qualname__, type(broken).__qualname__
            error = RuntimeError(f"{kind}, whose text cannot be made ({cause})")
            reason = self._outcome.reason.encode(errors="replace").decode()
            outcome = dataclasses.replace(self._outcome, reason=reason, error=error)
            return dead_letter.headers(message, outcome, self._handler, with_traceback=with_traceback)

    def _reported(self, delivery: Any) -> None:
        error = delivery.exception()
        if error is None:
            self.worker.observer.dead_letter(self._outcome.reason)
            self._settled(self._raw)
        else:
            self._refused(error)

    def _create_topic(self) -> None:
        # creating waits for the broker: not on the producer's or the handler's thread
        self._settlement.later(0, self._create_and_send)

    def _create_and_send(self) -> None:
        try:
            if self.topic not in self._settlement.made:
                # as many partitions as the source, so that copies keep their key's company
                count = self._app.topics.partition_count(self._raw.topic())
                self._app.topics.create(self.topic, partitions=count, config=self._topic_config(), exist_ok=True)
                self._settlement.made.add(self.topic)
        except Exception as error:  # border: as in send
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
                "source": dead_letter.origin(self.worker.to_message(self._raw)),
                "error": str(error),
                "retry_in_seconds": round(pause, 1),
            },
        )
        if not self.worker.closed:
            self._settlement.pause(self, pause)
        else:
            self.worker.give_up_settling()
