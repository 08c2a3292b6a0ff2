"""Carries out outcomes that need the broker: copies of messages that leave their lane, and sends made inside a call.

A message is finished only when its copy, or every send of its call, is confirmed. While a copy cannot be
written it is tried again, with pauses; its offset stays unfinished, so the partition fills up and holds.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM
from elsa.worker.copies import DeadLetter, Later

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from elsa.app import App
    from elsa.context import Context
    from elsa.outcome import Outcome
    from elsa.worker.copies import Copy
    from elsa.worker.partition import PartitionWorker

log = logging.getLogger("elsa.worker")

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
        self._paused: set[Copy] = set()
        self._thread: threading.Thread | None = None
        self._closed = False
        #: topics of copies that were made here and not found missing since
        self.made: set[str] = set()
        #: hears of a retry topic that was made: its group has to read it
        self.topic_made: Callable[[str], None] = lambda _: None

    # -- copies ------------------------------------------------------------------------------------

    def dead_letter(self, worker: PartitionWorker, raw: Any, outcome: Outcome, settled: Callable[[Any], None]) -> None:
        """Copy the message to its dead-letter topic; `settled(raw)` once that is confirmed."""
        DeadLetter(self, worker, raw, outcome, settled).send()

    def move(self, worker: PartitionWorker, raw: Any, outcome: Outcome, settled: Callable[[Any], None]) -> None:
        """Copy the message to a delay topic, from which it comes back; `settled(raw)` once that is confirmed."""
        Later(self, worker, raw, outcome, settled).send()

    def pause(self, copy: Copy, seconds: float) -> None:
        """Send a copy again after a pause, or as soon as its worker ends."""
        with self._changed:
            self._paused.add(copy)
        # it may have ended, and hurried what was there, just before
        self.later(0 if copy.worker.closed else seconds, lambda: self._resume(copy))

    def _resume(self, copy: Copy) -> None:
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

    def close(self, timeout: float = _CLOSE_SECONDS) -> None:
        """Settle nothing more; waits so long for what is being sent, at most 5 s."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._paused.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(min(timeout, _CLOSE_SECONDS))

    # -- sends made inside a call ------------------------------------------------------------------

    def confirm_sends(
        self,
        raw: Any,
        context: Context,
        settled: Callable[[Any], None],
        failed: Callable[[Any, BaseException, int], None],
    ) -> None:
        """`settled(raw)` when all sends of the call are confirmed, `failed(raw, error, attempt)` if one is not."""

        def decide(error: BaseException | None) -> None:
            if error is None:
                settled(raw)
            else:
                # A dead letter may follow. Looking its topic up inside a delivery report, on whatever thread a
                # flush or a poll brings that, aborts the process (confluent-kafka 2.16).
                self.later(0, lambda: failed(raw, error, context.attempt))

        # one for all members of a batch: each send is asked once, not once for each of them
        if context.confirmation is None:
            context.confirmation = _Confirmation()
        context.confirmation.wait(context.sends or (), decide)


class _Confirmation:
    """Of what one call has sent; callbacks come on the producer's thread or at once in the caller's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: how many sends are looked at, and how many of them are not over
        self._known = self._left = 0
        self._error: BaseException | None = None
        self._waiting: list[Callable[[BaseException | None], None]] = []

    def wait(self, sends: Sequence[Any], done: Callable[[BaseException | None], None]) -> None:
        """`done(error)` when these are over; they are those of the last time, and others behind them."""
        with self._lock:
            # a copy: a thread that the handler left behind may go on sending
            fresh = sends[self._known :]
            self._known += len(fresh)
            # and one for this call, so that it is not over before all of them are asked
            self._left += len(fresh) + 1
            self._waiting.append(done)
        for send in fresh:
            send.add_done_callback(self._one)
        self._over(None)

    def _one(self, send: Any) -> None:
        self._over(send.exception())

    def _over(self, error: BaseException | None) -> None:
        with self._lock:
            self._left -= 1
            self._error = self._error or error
            if self._left:
                return
            told, self._waiting = self._waiting, []
            error = self._error
        for done in told:
            done(error)
