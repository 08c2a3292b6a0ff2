"""Every exception that Elsa raises, in one place.

Two roots, so that `except ElsaError` never swallows a handler's own signal:

    ElsaError
    ├── ConfigError                 a setting is unknown, malformed or contradicts another
    ├── DeclarationError            a handler, task or hook is declared wrongly (raised at import)
    │   └── UnsupportedOption       an option whose machinery does not exist in this version
    ├── AppNotFound                 `module:app` could not be imported or holds no App
    ├── NotStarted                  the App was stopped (or was never there)
    ├── KafkaError                  anything a broker or the client library refused
    │   ├── BrokerUnavailable       no broker answered (also a ConnectionError)
    │   ├── AuthenticationFailed    SASL or TLS was refused
    │   ├── AuthorizationFailed     an ACL is missing
    │   ├── TopicError              (code, text) of a refused topic operation
    │   │   ├── TopicExists
    │   │   └── UnknownTopic
    │   ├── UnknownPartition
    │   ├── OffsetOutOfRange        (low, high)
    │   ├── GroupError              (code, text) of a refused group operation
    │   │   ├── GroupNotEmpty
    │   │   └── UnknownGroup
    │   ├── TransactionAborted      what the transaction held has to be done again
    │   ├── TransactionFenced       somebody else has the transactional id now
    │   └── FatalClientError        the client must be rebuilt
    ├── ProduceError                part of what was produced was not delivered
    │   ├── MessageTooLarge
    │   └── BufferFull              the producer's buffer stayed full (also a BufferError)
    ├── UnknownDeadLetter           there is no such dead letter
    ├── CodecError
    │   ├── DecodeError
    │   └── EncodeError
    ├── HandlerError
    │   ├── HandlerResultError      a result that makes no sense here
    │   ├── HandlerTimeout
    │   ├── PoisonMessage           worker processes have died while they handled the message
    │   ├── ChildEnded              the child process that ran the handler has died
    │   ├── RemoteError             raised in a child process, by something that cannot be pickled
    │   └── NotAssigned             an ack for a partition this process does not own (any more)
    ├── BatchError                  a batch failed from one index on
    ├── WorkerError
    │   ├── WorkerStartError        a worker process could not start
    │   └── ForcedStop              the stop deadline passed with handlers still running
    ├── CommandError                running workers did not all do what they were told (results, refused, missing)
    │   ├── NoWorker                none of them answered
    │   └── UnknownTarget           none of them has what was named
    └── EmbeddedBrokerError
        ├── JavaMissing
        ├── JarsUnavailable
        ├── PortInUse
        ├── DataDirectoryError      locked, corrupt, full or not writable
        └── BrokerStartError

    Signal                          raised by a handler to say what should become of its message
    ├── RetryLater(delay)
    ├── Reject(reason)
    ├── Skip(reason)
    └── RejectAssignment(reason)    raised by an on_assigned hook
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.message import Record, RecordMetadata


def _again(kind: type[BaseException], args: tuple[Any, ...], facts: dict[str, Any]) -> BaseException:
    """An error as it was in another process; its text is made already, so that `__init__` has no say."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(facts)
    return error


class ElsaError(Exception):
    """Something in Elsa went wrong."""

    retryable: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)

    def __init__(
        self,
        message: str | None = None,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.hint = hint
        text = message or (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(f"{text}\n  hint: {hint}" if hint else text)


class ConfigError(ElsaError, ValueError):
    """A setting is unknown, malformed or contradicts another one."""


class DeclarationError(ElsaError, TypeError):
    """A handler, task, hook or middleware is declared wrongly."""


class UnsupportedOption(DeclarationError):
    """This option is not available in this version of Elsa."""


class AppNotFound(ElsaError, ImportError):
    """The named App could not be found."""


class NotStarted(ElsaError, RuntimeError):
    """The App is stopped."""


class KafkaError(ElsaError):
    """A broker or the Kafka client refused the operation."""

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str = "",
        retryable: bool | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.code = code
        if retryable is not None:
            self.retryable = retryable


class BrokerUnavailable(KafkaError, ConnectionError):
    """No Kafka broker answered."""

    retryable = True


class AuthenticationFailed(KafkaError):
    """The broker refused the credentials or the TLS handshake."""


class AuthorizationFailed(KafkaError):
    """The broker's ACLs do not allow this operation."""


class TopicError(KafkaError):
    """The broker refused a topic operation."""


class TopicExists(TopicError):
    """The topic exists already."""


class UnknownTopic(TopicError):
    """There is no such topic."""


class UnknownPartition(KafkaError):
    """The topic has no such partition."""


class OffsetOutOfRange(KafkaError):
    """The offset lies outside the partition's log."""

    def __init__(self, message: str | None = None, *, low: int = -1, high: int = -1, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.low = low
        self.high = high


class GroupError(KafkaError):
    """The broker refused a consumer group operation."""


class GroupNotEmpty(GroupError):
    """The consumer group still has members."""


class UnknownGroup(GroupError):
    """There is no such consumer group."""


class FatalClientError(KafkaError):
    """The Kafka client reported a fatal error and has to be rebuilt."""


class TransactionAborted(KafkaError):
    """The transaction has to be aborted, and what it held done again."""

    retryable = True


class TransactionFenced(KafkaError):
    """Another producer has taken the transactional id over."""


class ProduceError(ElsaError):
    """Some messages were not delivered.

    `delivered` holds the metadata of those that were, `failed` the records that were not, both in the
    caller's order; `reason` is the first failure's text.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        reason: str = "",
        code: str = "",
        retryable: bool = False,
        delivered: Sequence[RecordMetadata] = (),
        failed: Sequence[Record] = (),
        **facts: Any,
    ) -> None:
        super().__init__(message or reason or None, **facts)
        self.reason = reason
        self.code = code
        self.retryable = retryable
        self.delivered = list(delivered)
        self.failed = list(failed)


class MessageTooLarge(ProduceError):
    """The message is larger than the producer or the topic allows."""


class BufferFull(ProduceError, BufferError):
    """The producer's buffer stayed full."""


class UnknownDeadLetter(ElsaError):
    """There is no such dead letter."""


class CodecError(ElsaError):
    """A body could not be encoded or decoded."""


class DecodeError(CodecError):
    """The body does not fit the handler's annotation."""


class EncodeError(CodecError):
    """The value cannot be encoded."""


class HandlerError(ElsaError):
    """A handler did something it may not do."""


class HandlerResultError(HandlerError):
    """The handler's result makes no sense here."""


class HandlerTimeout(HandlerError, TimeoutError):
    """The handler ran longer than its timeout."""


class PoisonMessage(HandlerError):
    """Worker processes have died while they handled the message, again and again."""


class TooManyDead(HandlerError):
    """So large a share of a partition's messages fails that it halts; the last error is the cause."""


class ChildEnded(HandlerError):
    """The child process that ran the handler has ended."""


class RemoteError(HandlerError):
    """A handler in a child process raised something that cannot be handed over."""


class NotAssigned(HandlerError):
    """The partition is not assigned to this process (any more)."""


class BatchError(ElsaError):
    """A batch failed from one index on: the messages before it are done.

    Raise it from a batch handler: `raise elsa.errors.BatchError(3, error)`.
    """

    def __init__(self, index: int, error: BaseException | None = None) -> None:
        super().__init__(f"the batch failed at index {index}: {error!r}")
        self.index = index
        self.error = error


class WorkerError(ElsaError):
    """A worker failed."""


class WorkerStartError(WorkerError):
    """The worker process could not start."""


class ForcedStop(WorkerError):
    """The stop deadline passed while handlers were still running."""


class CommandError(ElsaError):
    """Running workers did not all do what they were told.

    By the worker's name: `results` of those that did, `refused` with the reason of those that would not; `missing`
    are those that run and did not answer.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        results: Mapping[str, Any] | None = None,
        refused: Mapping[str, str] | None = None,
        missing: Sequence[str] = (),
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.results = dict(results or {})
        self.refused = dict(refused or {})
        self.missing = list(missing)


class NoWorker(CommandError):
    """No worker answered."""


class UnknownTarget(CommandError):
    """No worker has what was named."""


class EmbeddedBrokerError(ElsaError):
    """The embedded Kafka broker could not be run."""


class JavaMissing(EmbeddedBrokerError):
    """No Java runtime was found."""


class JarsUnavailable(EmbeddedBrokerError):
    """Kafka's jars could not be fetched and are not in the cache."""


class PortInUse(EmbeddedBrokerError):
    """The port is taken."""


class DataDirectoryError(EmbeddedBrokerError):
    """The data directory cannot be used."""


class BrokerStartError(EmbeddedBrokerError):
    """The embedded broker stopped while starting."""


class Signal(Exception):
    """What a handler raises to say what should become of its message."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


def name_of(error: BaseException) -> str:
    """What errors are counted by: Kafka's name, of one that has none its class.

    >>> name_of(BrokerUnavailable(code="_TRANSPORT")), name_of(ValueError())
    ('_TRANSPORT', 'ValueError')
    """
    return getattr(error, "code", "") or type(error).__name__


#: nobody means three thousand years
_FAR_SECONDS = 1e11


class RetryLater(Signal):
    """Try this message again after `delay` seconds (or a timedelta); counts as one attempt."""

    def __init__(self, delay: float | timedelta, reason: str = "") -> None:
        seconds: Any = delay.total_seconds() if isinstance(delay, timedelta) else delay
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < _FAR_SECONDS:
            raise TypeError(f"RetryLater({delay!r}) is neither a number of seconds nor a timedelta, from 0 on")
        super().__init__(reason or f"retry in {seconds:g} s")
        self.delay = float(seconds)
        self.reason = reason


class Reject(Signal):
    """Send this message to the dead letters now."""

    def __init__(self, reason: str = "rejected by the handler") -> None:
        super().__init__(reason)
        self.reason = reason


class Skip(Signal):
    """Finish this message without doing anything."""

    def __init__(self, reason: str = "skipped by the handler") -> None:
        super().__init__(reason)
        self.reason = reason


class RejectAssignment(Signal):
    """Raised by an `on_assigned` hook: leave this partition unprocessed while it is assigned here."""

    def __init__(self, reason: str = "rejected by the on_assigned hook") -> None:
        super().__init__(reason)
        self.reason = reason
