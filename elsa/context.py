"""What a handler can know and do while one message runs: the Context, and `current()` to find it.

The worker makes one Context per call and sets it before the handler runs; the producer asks `active()`
to tie sends to the call they were made in.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from elsa.errors import ElsaError, EncodeError, TransactionAborted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextvars import Context as Surroundings

    from elsa.message import Headers, Message, TopicPartition


class PendingSend(Protocol):
    """A send that has been made and not confirmed yet (`elsa.producer.Delivery`)."""

    def add_done_callback(self, callback: Any) -> None:
        """`callback(delivery)` once the broker has confirmed or refused; from the producer's thread."""
        ...

    def done(self) -> bool: ...

    def exception(self, timeout: float | None = None) -> BaseException | None: ...


class Held:
    """What a transactional call has sent: kept until it is over, then produced with its offset."""

    __slots__ = ("_lock", "_sends")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sends: list[Any] | None = []

    def add(self, send: Any) -> bool:
        """Keep one more; False when the call is over."""
        with self._lock:
            if self._sends is None:
                return False
            self._sends.append(send)
            return True

    @property
    def is_open(self) -> bool:
        """Whether the call is still running."""
        return self._sends is not None

    @property
    def has_sends(self) -> bool:
        """Whether there is anything to be produced."""
        return bool(self._sends)

    def close(self) -> list[Any]:
        """The call is over: what it has sent."""
        with self._lock:
            sends, self._sends = self._sends, None
            return sends or []

    def drop(self, error: BaseException | None = None) -> None:
        """The call is over, and nobody will ever read what it has sent."""
        drop(self.close(), error)


def drop(sends: Iterable[Any], error: BaseException | None = None) -> None:
    """Settle the Deliveries of held sends that are given up."""
    why = error or TransactionAborted("the call is made again: its transaction was given up", code="_GIVEN_UP")
    for send in sends:
        send.delivery.settle(why)


class NoContext(ElsaError, LookupError):
    """There is no message being handled here: `elsa.current()` works inside a handler only."""


_ACTIVE: ContextVar[Context | None] = ContextVar("elsa_context", default=None)


class Site(Protocol):
    """Where messages of one partition run: what all Contexts of a partition worker share."""

    @property
    def app(self) -> Any: ...

    @property
    def partition(self) -> TopicPartition: ...

    @property
    def group(self) -> str | None: ...

    @property
    def generation(self) -> int | None: ...

    @property
    def is_stopping(self) -> bool: ...

    @property
    def progress(self) -> dict[int, Any]: ...

    def handler_of(self, raws: Sequence[Any]) -> str: ...

    def ack(self, messages: Sequence[Message]) -> None: ...

    def heartbeat(self, offsets: Sequence[int], progress: Any) -> None: ...


class Context:
    """The message being handled and what can be done about it; get it as a parameter or by `elsa.current()`.

    `topic`, `partition` and `offset` are the origin's, also when the message came back through a retry
    topic. `attempt` is 1 at the first try. `deadline` is a time of `time.monotonic()` or None.
    One thread or task at a time writes to it; `ack` may be called from any thread.

    ```python
    @elsa.handler("orders")
    def bill(order: dict, ctx: elsa.Context) -> None:
        ctx.send("invoices", {"order": order["id"], "try": ctx.attempt}, key=ctx.key)
    ```
    """

    __slots__ = ("_loaded", "_raw", "_site", "_to_message", "attempt", "confirmation", "deadline", "held", "sends")

    def __init__(self, site: Site, raw: Sequence[Any], to_message: Any, attempt: int) -> None:
        self._site = site
        self._raw = raw
        self._to_message = to_message
        self._loaded: list[Message] | None = None
        self.attempt = attempt
        self.deadline: float | None = None
        self.sends: list[PendingSend] | None = None
        #: what waits for them, once something does
        self.confirmation: Any = None
        #: of a transactional handler: what it sends is kept here
        self.held: Held | None = None

    @property
    def messages(self) -> list[Message]:
        """All messages of this call: one, or the batch."""
        if self._loaded is None:
            self._loaded = [self._to_message(raw) for raw in self._raw]
        return self._loaded

    @property
    def has_messages(self) -> bool:
        """Whether there is one: not in `setup`."""
        return bool(self._raw)

    @property
    def message(self) -> Message:
        """The message (of a batch: the first); raises NoContext in `setup`, where there is none yet."""
        if not self._raw:
            raise NoContext("there is no message in setup, only ctx.topic and ctx.partition")
        return self.messages[0]

    @property
    def app(self) -> Any:
        """The App whose handler this is."""
        return self._site.app

    @property
    def connection(self) -> str:
        """The App's name."""
        return str(self._site.app.name)

    @property
    def handler(self) -> str:
        """The handler's name; "tasks of <topic>" for a message that names no task of its topic."""
        return self._site.handler_of(self._raw)

    @property
    def group(self) -> str | None:
        """The consumer group, None for a standalone handler."""
        return self._site.group

    @property
    def generation(self) -> int | None:
        """The group's generation, None for a standalone handler."""
        return self._site.generation

    @property
    def topic(self) -> str:
        return self.message.topic if self._raw else self._site.partition.topic

    @property
    def partition(self) -> int:
        return self.message.partition if self._raw else self._site.partition.partition

    @property
    def offset(self) -> int:
        return self.message.offset

    @property
    def key(self) -> bytes | None:
        return self.message.key

    @property
    def headers(self) -> Headers:
        return self.message.headers

    @property
    def timestamp(self) -> float | None:
        """Seconds since the epoch."""
        return self.message.timestamp

    @property
    def is_stopping(self) -> bool:
        """Whether the worker wants to stop, or this partition is being taken away: end soon."""
        return self._site.is_stopping

    def send(self, topic: str, value: Any, **options: Any) -> Any:
        """Send to `topic`; this message is finished only after the broker has confirmed it.

        Takes the options of `App.send` and returns its Delivery.
        """
        return self._site.app.send(topic, value, **options)

    def heartbeat(self, progress: Any = None) -> None:
        """Tell how far this call is: shown where running calls are listed, and kept for the next attempt.

        `progress` is anything that JSON can say, and is kept as JSON says it; keep it small. Anything else raises
        EncodeError. From any thread; a message that is done, or that goes to another process, is forgotten.

        ```python
        @elsa.handler("exports")
        def export(order: dict, ctx: elsa.Context) -> None:
            for page in range(ctx.progress or 0, order["pages"]):
                ctx.heartbeat(page)
        ```
        """
        try:
            # a copy: the handler may go on changing what it has given, while others show it
            told = msgspec.json.decode(msgspec.json.encode(progress))
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            kind = type(progress).__qualname__
            raise EncodeError(f"ctx.heartbeat takes what JSON can say, not a {kind}: {error}") from error
        self._site.heartbeat([raw.offset() for raw in self._raw], told)

    @property
    def progress(self) -> Any:
        """What the last `heartbeat` of this message told, in this attempt or an earlier one; None without any."""
        # not the message's own, which may be that of its origin
        return self._site.progress.get(self._raw[0].offset()) if self._raw else self.message

    def track(self, send: PendingSend) -> None:
        """Tie a send to this call (the producer does it for every send made inside a handler)."""
        if self.sends is None:
            self.sends = []
        self.sends.append(send)

    def ack(self, *messages: Message) -> None:
        """Finish a deferred message (all of this call without arguments); from any thread."""
        self._site.ack(messages or self.messages)


def active() -> Context | None:
    """The Context of the call that runs here, or None outside a handler."""
    return _ACTIVE.get()


def detached() -> Surroundings:
    """What surrounds the call that runs here (above all its trace), not the call itself: for what follows from it."""
    found = copy_context()
    found.run(_ACTIVE.set, None)
    return found


def current() -> Context:
    """The Context of the message being handled; also in threads and tasks that the handler started.

    Raises NoContext outside a handler.
    """
    context = _ACTIVE.get()
    if context is None:
        raise NoContext
    return context
