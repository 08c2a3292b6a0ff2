"""Messages whose handler has answered DEFER: they are finished by `ctx.ack()`, from any thread; owned by a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa.errors import NotAssigned
from elsa.outcome import DONE
from elsa.worker.ages import ages
from elsa.worker.mailbox import Finished
from elsa.worker.repeats import remember

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from elsa.context import Context
    from elsa.message import Message
    from elsa.worker.partition import PartitionWorker


class Deferrals:
    """What one partition worker has to be told about; the worker's lock guards both tables."""

    def __init__(self, worker: PartitionWorker) -> None:
        self._worker = worker
        self._waiting: dict[int, tuple[Any, Context]] = {}
        #: acknowledged while the call was still running: kept until it has returned DEFER
        self._early: set[int] = set()

    def offsets(self) -> list[int]:
        """What waits for an acknowledgement."""
        return list(self._waiting)

    def defer(self, raw: Any, context: Context) -> None:
        """A call returned DEFER."""
        with self._worker.lock:
            if self._worker.closed:
                return
            if raw.offset() not in self._early:
                self._waiting[raw.offset()] = (raw, context)
                return
            self._early.discard(raw.offset())
        self._finish([(raw, context)])

    def ack(self, messages: Sequence[Message]) -> None:
        """Finish these; raises NotAssigned for one that is not deferred here (any more)."""
        worker = self._worker
        with worker.lock:
            offsets = [_offset(message) for message in messages]
            for message, offset in zip(messages, offsets, strict=True):
                if worker.closed or not (offset in self._waiting or self._is_early(offset)):
                    raise _refused(message, is_closed=worker.closed)
            self._early.update(offset for offset in offsets if offset not in self._waiting)
            found = [self._waiting.pop(offset) for offset in offsets if offset in self._waiting]
        self._finish(found)

    def _is_early(self, offset: int) -> bool:
        """Whether its call is still running, so that the answer DEFER is yet to come (lock held)."""
        return offset not in self._early and self._worker.underway.is_running(offset)

    def _finish(self, found: Sequence[tuple[Any, Context]]) -> None:
        """Those that have sent something still wait for its confirmation."""
        worker = self._worker
        if worker.seen is not None:
            for raw, context in found:
                remember(worker, raw, context)
        if found:
            raws = [raw for raw, _ in found]
            worker.observer.aged(ages(raws, worker.clock.now(), is_retry=worker.is_retry))
        offsets = [raw.offset() for raw, context in found if context.sends is None]
        if offsets:
            with worker.lock:
                worker.forget(offsets)
            worker.post(Finished(worker, offsets))
        for raw, context in found:
            if context.sends is not None:
                worker.conclusion.await_sends(raw, context, DONE)

    def forget(self, offsets: Iterable[int]) -> None:
        """These are over in another way (lock held)."""
        if self._early:
            self._early.difference_update(offsets)

    def clear(self) -> None:
        """The partition goes: they will be delivered again (lock held)."""
        self._waiting.clear()
        self._early.clear()


def _offset(message: Message) -> int:
    return message.offset if message.retry_offset is None else message.retry_offset


def _refused(message: Message, *, is_closed: bool) -> NotAssigned:
    state = "is not assigned here any more" if is_closed else "is not deferred"
    return NotAssigned(
        f"cannot acknowledge {message.topic}[{message.partition}] offset {message.offset}: it {state}",
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        hint="it will be delivered again" if is_closed else "return elsa.DEFER first, ack once",
    )
