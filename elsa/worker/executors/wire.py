"""What a worker process and its children say to each other: pickled tuples over a socketpair, and what is in them.

| who speaks | messages |
|---|---|
| parent | `("load", Load)`, `("call", Call)`, `("stopping",)`, `("exit",)` |
| child | `("ready",)`, `("failed", Failure)`, `("beat", progress)`, `("end", End)` |

Both ends are processes of one worker, so pickle is as good as anything; what users give is pickled by itself, so that
what cannot be pickled, or read back, is told as such.
"""

from __future__ import annotations

import pickle
import sys
import threading
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from elsa.errors import HandlerResultError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.message import Headers

#: the longest text of an error that is handed over
_MOST_TEXT = 64 * 1024


class Received:
    """A message as the client gave it out, with the accessors that the engine uses; made of plain values."""

    __slots__ = ("_epoch", "_headers", "_key", "_offset", "_partition", "_timestamp", "_topic", "_value")

    def __init__(self, fields: Sequence[Any]) -> None:
        (
            self._topic,
            self._partition,
            self._offset,
            self._key,
            self._value,
            self._headers,
            self._timestamp,
            self._epoch,
        ) = fields

    @staticmethod
    def fields(raw: Any) -> tuple[Any, ...]:
        """What is handed over of a client's message."""
        return (
            raw.topic(),
            raw.partition(),
            raw.offset(),
            raw.key(),
            raw.value(),
            raw.headers(),
            raw.timestamp(),
            raw.leader_epoch(),
        )

    def topic(self) -> str:
        topic: str = self._topic
        return topic

    def partition(self) -> int:
        partition: int = self._partition
        return partition

    def offset(self) -> int:
        offset: int = self._offset
        return offset

    def key(self) -> bytes | None:
        key: bytes | None = self._key
        return key

    def value(self) -> bytes | None:
        value: bytes | None = self._value
        return value

    def headers(self) -> Any:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        timestamp: tuple[int, int] = self._timestamp
        return timestamp

    def leader_epoch(self) -> int | None:
        epoch: int | None = self._epoch
        return epoch


@dataclass(frozen=True, slots=True)
class Load:
    """Which handler a child is for; `preparation` is multiprocessing's account of paths and of the main module."""

    module: str
    app: str
    handler: str
    settings: Mapping[str, Any]
    preparation: Mapping[str, Any]
    log_level: str
    json_logs: bool
    #: whether calls come with a trace
    is_traced: bool


@dataclass(frozen=True, slots=True)
class Call:
    """Messages to be handled in one call: one, or a batch."""

    messages: Sequence[tuple[Any, ...]]
    group: str | None
    generation: int | None
    attempt: int
    progress: Mapping[int, Any] = field(default_factory=dict)
    #: whether the messages came back through a retry topic
    is_retry: bool = False
    #: headers with the trace of the span around this call
    trace: Headers = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception on its way: pickled, if it can be read back, and in words anyhow."""

    pickled: bytes | None
    module: str
    name: str
    text: str
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        kind = type(error)
        text, trace = _words(error)
        try:
            pickled = pickle.dumps(error)
            pickle.loads(pickled)  # noqa: S301 - what was just pickled here
        except Exception:  # border: exceptions are the user's, and many cannot be made from their own arguments
            return cls(None, kind.__module__, kind.__qualname__, text, trace)
        return cls(pickled, kind.__module__, kind.__qualname__, text, trace)

    def error(self) -> BaseException:
        """The exception again, with the child's traceback as its cause."""
        found: BaseException | None = None
        if self.pickled is not None:
            try:
                found = pickle.loads(self.pickled)  # noqa: S301 - from a child of this process
            except Exception:  # border: as in `of`; its class may be there in the child only
                found = None
        if not isinstance(found, BaseException):
            found = self._stand_in()
        found.__cause__ = RemoteError(f"in the child process:\n{self.trace}")
        return found

    def _stand_in(self) -> BaseException:
        """Named as the real one in metrics and dead letters, and for retry policies of its class, if that is here."""
        kind: Any = sys.modules.get(self.module)
        for name in self.name.split("."):
            kind = getattr(kind, name, None)
        fields = {"__module__": self.module, "__qualname__": self.name, "__str__": lambda error: error.args[0]}
        bases = (RemoteError, kind) if isinstance(kind, type) and issubclass(kind, Exception) else (RemoteError,)
        made: Any
        try:
            made = type(self.name.rpartition(".")[2], bases, fields)
        except TypeError:  # not every class can be derived from together with ours
            made = type(self.name.rpartition(".")[2], (RemoteError,), fields)
        # its own `__init__` wants what has stayed behind
        found: BaseException = made.__new__(made)
        found.args = (self.text,)
        found.__dict__.update(dict.fromkeys(("topic", "partition", "offset", "hint")))
        return found


def _words(error: BaseException) -> tuple[str, str]:
    try:
        text = str(error)
    except Exception as broken:  # border: the text of the user's exception raises itself
        text = f"{type(error).__qualname__}, whose text cannot be made ({type(broken).__qualname__})"
    try:
        trace = "".join(traceback.format_exception(error))
    except Exception:  # border: as above
        trace = "".join(traceback.format_tb(error.__traceback__))
    return text[:_MOST_TEXT], trace[-_MOST_TEXT:]


@dataclass(frozen=True, slots=True)
class End:
    """What a call came to: a value, or a failure; members of a batch that could not be decoded, by their index."""

    value: bytes | None = None
    failure: Failure | None = None
    undecoded: Mapping[int, Failure] = field(default_factory=dict)
    #: bytes of memory that the child has resident now
    resident: int = 0

    def result(self) -> Any:
        """The handler's value; raises what it raised."""
        if self.failure is not None:
            raise self.failure.error()
        return None if self.value is None else pickle.loads(self.value)  # noqa: S301 - from a child of this process


def pickled_result(value: Any, handler: str) -> bytes | None:
    """A handler's value on its way to the parent; raises HandlerResultError for one that cannot go there."""
    if value is None:
        return None
    try:
        return pickle.dumps(value)
    except Exception as error:
        raise HandlerResultError(
            f"{handler} returned a {type(value).__qualname__} that cannot be handed to another process: {error}",
            hint='with executor="process" a result has to be picklable; return None if nobody needs it',
        ) from error


class Line:
    """One end of the conversation; `send` may be called from several threads, `receive` from one."""

    def __init__(self, descriptor: int) -> None:
        self._connection = Connection(descriptor)
        self._lock = threading.Lock()

    def send(self, *message: Any) -> None:
        """Raises OSError when the other end is gone."""
        data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self._connection.send_bytes(data)

    def has_news(self, timeout: float | None) -> bool:
        """Wait up to so many seconds (None: for ever) for a message, or for the other end to go."""
        return self._connection.poll(timeout)

    def receive(self) -> tuple[Any, ...]:
        """The next message; raises EOFError or OSError when the other end is gone."""
        message: tuple[Any, ...] = pickle.loads(self._connection.recv_bytes())  # noqa: S301 - both ends are ours
        return message

    def close(self) -> None:
        self._connection.close()
