"""The Delivery: what one send came to, to be waited for, awaited or called back; made by elsa.producer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from elsa.errors import BufferFull, ElsaError, MessageTooLarge, ProduceError
from elsa.kafka.errors import ClientError, translate
from elsa.kafka.producer import in_poll_thread
from elsa.message import RecordMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from elsa.message import Record

log = logging.getLogger("elsa.producer")

#: guards the making of a Delivery's list of callbacks; never taken by a report
_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 - the thread that may have held it does not exist in a forked child
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


class HeldSend(msgspec.Struct, gc=False, eq=False):
    """A send of a transactional call: everything that producing it takes, and its Delivery."""

    topic: str
    value: bytes | str | None
    key: bytes | str | None
    partition: int | None
    headers: Any
    timestamp: int
    delivery: Any


class Owner(Protocol):
    """Who made a Delivery and hears what became of it."""

    @property
    def sent(self) -> Callable[[str, str, float, str | None], None] | None:
        """The observer's `sent`; None when nobody listens."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What every error of its client says; see `elsa.kafka.errors.facts_of`."""
        ...

    def refused(self, topic: str, error: ClientError) -> ClientError:
        """Kafka refused a message for that topic; the error that says why."""
        ...

    def unconfirmed(self, delivery: Delivery, message: Any) -> None:
        """The client says that a message was written, and not where: it may be nowhere."""
        ...


class Delivery(msgspec.Struct, gc=False, eq=False):
    """One send under way: a future (`result`, `exception`, `done`, `add_done_callback`) that can be awaited.

    `topic` is known at once; `partition`, `offset` and `timestamp` (seconds since the epoch) are None until
    Kafka has confirmed the message. Every method may be called from any thread and any event loop. A
    Delivery that is pending at a fork is never settled in the child.

    There is nothing to wait with until somebody waits: that is what makes a send cheap. Why no wake-up is
    lost and no callback runs twice: `_outcome` goes from None to its value once. A report writes `_outcome`,
    then reads `_callbacks`; a waiter adds to `_callbacks`, then reads `_outcome`. Whichever of the two writes
    comes second, its author sees the first one, so at least one of them runs the callbacks; and each is
    taken off the list by `pop`, which is atomic, so at most one runs each. The list itself is made under a
    lock, so that two waiters never make two. (Both are attributes of a C struct: their reads and writes are
    sequentially consistent under the GIL, and without it go through the object's own lock.)

    ```python
    delivery = elsa.send("orders", b"v")
    delivery.result(timeout=10).offset      # or: (await delivery).offset
    ```
    """

    # A Struct that the garbage collector does not walk over: with 100,000 sends under way that cost 1 us a send.
    # Callbacks are taken off when they run, so no cycle outlives a report.
    topic: str
    _owner: Any
    #: None, then the client's report (its payload removed) or the error
    _outcome: Any = None
    _callbacks: list[Any] | None = None
    #: of the message, if it has one: what `elsa.cancel` takes
    id: str | None = None
    #: of the message, for the client's report is without them; a tuple, which the garbage collector lets alone
    headers: tuple[tuple[str, bytes | None], ...] = ()

    def __call__(self, error: ClientError | None, message: Any) -> None:
        """Take the client's delivery report (from the polling thread, once).

        The Delivery is the callback itself, because a bound method would be one more object per message
        for the garbage collector to walk over.
        """
        if error is None and message.offset() is None:
            self._owner.unconfirmed(self, message)
            return
        sent = self._owner.sent
        if sent is not None:
            sent(self.topic, "error" if error else "ok", message.latency() or 0.0, error.name() if error else None)
        if error is None:
            message.set_value(None)  # who keeps the Delivery need not keep the payload
            self._outcome = message
        else:
            self._outcome = self._owner.refused(self.topic, error)
        if self._callbacks is not None:
            self._call_back()

    def _call_back(self) -> None:
        callbacks = self._callbacks or []
        while callbacks:
            try:
                callback = callbacks.pop(0)
            except IndexError:
                return  # another thread took the last one
            try:
                callback(self)
            except Exception:  # the callback is the user's; the reports behind this one must go on
                log.exception(
                    "a callback of a Delivery failed", extra={"event": "delivery_callback", "topic": self.topic}
                )

    def done(self) -> bool:
        """Whether Kafka has confirmed or refused the message."""
        return self._outcome is not None

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Wait until Kafka has confirmed the message and say where it lies.

        Raises what `exception` returns, and TimeoutError when `timeout` seconds have passed.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        where = self._outcome
        return RecordMetadata(self.topic, where.partition(), where.offset(), _seconds(where))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait like `result`; the error Kafka refused the message with, None when it was confirmed."""
        if not self.wait(timeout):
            raise TimeoutError(f"Kafka did not confirm the message for topic {self.topic!r} within {timeout or 0:g} s")
        outcome = self._outcome
        if isinstance(outcome, ClientError):
            outcome = self._outcome = translate(outcome, **self._owner.facts, topic=self.topic, operation="Write")
        return outcome if isinstance(outcome, BaseException) else None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the message is confirmed or refused; False when `timeout` seconds passed first."""
        if self._outcome is not None:
            return True
        if timeout is not None and timeout <= 0:
            return False
        if in_poll_thread():
            raise RuntimeError("waiting for a Delivery inside a Delivery's callback would never end")
        arrived = threading.Event()
        self.add_done_callback(lambda _: arrived.set())
        return arrived.wait(timeout)

    def add_done_callback(self, callback: Callable[[Delivery], object]) -> None:
        """Call `callback(delivery)` when it is done: from the producer's thread, or at once if it is.

        It must be short and not wait; what it raises is logged.
        """
        with _lock:
            if self._callbacks is None:
                self._callbacks = []
        self._callbacks.append(callback)
        if self._outcome is not None:
            self._call_back()

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        if self._outcome is None:
            loop = asyncio.get_running_loop()
            arrived: asyncio.Future[None] = loop.create_future()

            def wake(_: Delivery) -> None:
                with contextlib.suppress(RuntimeError):  # the loop was closed before the report came
                    loop.call_soon_threadsafe(_finish, arrived)

            self.add_done_callback(wake)
            yield from arrived
        return self.result(0)

    def _confirmed(self) -> Any:
        """The client's report when the message is confirmed, else None."""
        outcome = self._outcome
        return None if isinstance(outcome, ClientError | BaseException) else outcome

    @property
    def partition(self) -> int | None:
        """Where it lies; None until confirmed."""
        where = self._confirmed()
        return None if where is None else where.partition()

    @property
    def offset(self) -> int | None:
        """Its offset there; None until confirmed."""
        where = self._confirmed()
        return None if where is None else where.offset()

    @property
    def timestamp(self) -> float | None:
        """Seconds since the epoch; None until confirmed."""
        where = self._confirmed()
        return None if where is None else _seconds(where)

    def settle(self, outcome: Any) -> None:
        """Take a report, or an error, from who has made this Delivery."""
        self._outcome = outcome
        if self._callbacks is not None:
            self._call_back()

    def __repr__(self) -> str:
        if self._outcome is None:
            return f"<Delivery to {self.topic!r}, under way>"
        if self._confirmed() is None:
            return f"<Delivery to {self.topic!r}, refused: {self.exception()}>"
        return f"<Delivery to {self.topic!r}[{self.partition}] at {self.offset}>"


def _seconds(message: Any) -> float | None:
    kind, milliseconds = message.timestamp()
    return milliseconds / 1_000 if kind else None


def _finish(arrived: asyncio.Future[None]) -> None:
    if not arrived.done():
        arrived.set_result(None)


def confirmed(
    topic: str, wanted: Sequence[Record], outcomes: Sequence[Delivery | ElsaError], limit: float
) -> list[RecordMetadata]:
    """The metadata of all, or the ProduceError that tells the delivered from the failed (called by `produce`)."""
    delivered: list[RecordMetadata] = []
    failed: list[Record] = []
    reasons: list[BaseException] = []
    for record, outcome in zip(wanted, outcomes, strict=True):
        error: BaseException | None
        if isinstance(outcome, ElsaError):
            error = outcome
        elif outcome.done():
            error = outcome.exception(0)
        else:
            error = TimeoutError(f"not confirmed within {limit:g} s (it may still be written)")
        if error is None:
            delivered.append(outcome.result(0))  # type: ignore[union-attr]  # an error is never None
        else:
            failed.append(record)
            reasons.append(error)
    if not reasons:
        return delivered
    first = reasons[0]
    reason = str(first).split("\n", 1)[0]
    kind = type(first) if all(type(error) is type(first) for error in reasons) else ProduceError
    raise (kind if kind in (MessageTooLarge, BufferFull) else ProduceError)(
        f"{len(failed)} of {len(wanted)} messages for topic {topic!r} were not delivered: {reason}",
        reason=reason,
        hint=getattr(first, "hint", None),
        code=getattr(first, "code", ""),
        retryable=all(getattr(error, "retryable", isinstance(error, TimeoutError)) for error in reasons),
        delivered=delivered,
        failed=failed,
        topic=topic,
    ) from first


class HeldDelivery(Delivery, gc=False, eq=False):
    """The Delivery of a send that is kept until its transactional call is over: inside the call nobody can wait for it.

    It is done when the transaction is, and failed when that was aborted: then the message is handled again.
    """

    _held: Any = None

    def wait(self, timeout: float | None = None) -> bool:
        self._check()
        return Delivery.wait(self, timeout)

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        self._check()
        return Delivery.__await__(self)

    def _check(self) -> None:
        if self._outcome is None and self._held.is_open:
            raise RuntimeError(
                f"the message for topic {self.topic!r} is sent when this call of a transactional handler is over: "
                "it cannot be waited for inside"
            )
