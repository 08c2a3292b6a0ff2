"""Turns the client library's errors into Elsa's, once, for every adapter in this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import KafkaError as ClientError
from confluent_kafka import KafkaException as ClientException

from elsa import errors
from elsa.kafka import authorization, clientcertificate, codes
from elsa.kafka.codes import Class, meaning
from elsa.kafka.handshake import Examination

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.config import Settings

T = TypeVar("T")

__all__ = [
    "ClientError",
    "ClientException",
    "Reports",
    "facts_of",
    "is_fatal",
    "is_forbidden",
    "is_given_up",
    "is_unknown_topic",
    "translate",
]

#: how long a client that a broker has refused waits for an answer of another
REFUSED_SECONDS = 1.0
_UNREACHABLE = codes.numbers(codes.UNREACHABLE)
_UNKNOWN_TOPIC = codes.numbers(codes.UNKNOWN_TOPIC)
_ACL = codes.numbers(codes.ACL)
#: after these a look at the listener may say more
_LOOKED_AT = ("_SSL",)
_GIVEN_UP = codes.numbers(codes.PURGED, "_FATAL")

#: (codes, class, what happened, what to do) where there is more to say than the table of `codes` does; `{topic}` and
#: the like come from the facts, without a text of its own the table's reason is what happened
_WORDS: tuple[tuple[str, type[errors.KafkaError], str | None, str | None], ...] = (
    (
        codes.UNREACHABLE,
        errors.BrokerUnavailable,
        "no Kafka broker answered{at}",
        "check `brokers` and that Kafka is running",
    ),
    (
        codes.CREDENTIALS,
        errors.AuthenticationFailed,
        "the broker refused the credentials{of_user}",
        "check sasl.username, sasl.password and sasl.mechanism of `kafka` (`elsa config` says where each comes from)",
    ),
    (codes.TOKENS, errors.AuthenticationFailed, None, "check the sasl.* keys of `kafka`"),
    (
        "_SSL",
        errors.AuthenticationFailed,
        None,
        "check the ssl.* keys of `kafka`: `elsa check` says what is wrong with the certificate",
    ),
    ("UNSUPPORTED_SASL_MECHANISM", errors.AuthenticationFailed, None, "check `sasl.mechanism` in `kafka`"),
    (
        codes.UNKNOWN_TOPIC,
        errors.UnknownTopic,
        "topic {topic!r} does not exist",
        "create it: `elsa topics create {topic}`",
    ),
    (
        "_MSG_TIMED_OUT",
        errors.BrokerUnavailable,
        "Kafka did not confirm the message for topic {topic!r} within `send_timeout`",
        "it may have been written all the same",
    ),
    (
        codes.PURGED,
        errors.KafkaError,
        "the message for topic {topic!r} was dropped: the producer was closed before Kafka confirmed it",
        "give `close` more time, or find out why Kafka did not answer",
    ),
    (
        "_UNKNOWN_PARTITION",
        errors.UnknownPartition,
        "topic {topic!r} has no partition {partition}",
        "see `elsa topics describe {topic}`",
    ),
    (
        codes.OUT_OF_RANGE,
        errors.OffsetOutOfRange,
        "offset {offset} of {topic!r}[{partition}] lies outside the log",
        None,
    ),
    ("TOPIC_ALREADY_EXISTS", errors.TopicExists, "topic {topic!r} exists already", None),
    (codes.TOPIC, errors.TopicError, "the broker refused the operation on topic {topic!r}", None),
    ("NON_EMPTY_GROUP", errors.GroupNotEmpty, "group {group!r} still has members", "stop its workers first"),
    (
        "GROUP_SUBSCRIBED_TO_TOPIC",
        errors.GroupNotEmpty,
        "group {group!r} is subscribed to topic {topic!r}",
        "stop its workers first",
    ),
    (
        "UNKNOWN_MEMBER_ID",
        errors.GroupNotEmpty,
        "group {group!r} has members: its offsets can't be changed from outside",
        "stop its workers first",
    ),
    (
        "GROUP_ID_NOT_FOUND _UNKNOWN_GROUP",
        errors.UnknownGroup,
        "group {group!r} does not exist",
        "see `elsa groups list`",
    ),
    ("INVALID_GROUP_ID", errors.GroupError, "{group!r} is no valid group name", None),
    (
        "THROTTLING_QUOTA_EXCEEDED",
        errors.KafkaError,
        None,
        "wait, or have the quota raised (kafka-configs --entity-type users)",
    ),
)
_BY_CODE = {code: words for words in _WORDS for code in codes.numbers(words[0])}
_REBUILT = (errors.FatalClientError, "the Kafka client reported a fatal error", "it has to be rebuilt")


class _Facts(dict[str, Any]):
    """Facts for a text; a missing one is said to be unknown instead of raising."""

    def __missing__(self, key: str) -> str:
        return "" if key in ("at", "of_user") else "?"


def translate(error: ClientError | ClientException | BaseException, **facts: Any) -> errors.ElsaError:
    """The Elsa error for a client error, with its facts.

    Facts: topic, partition, offset, group, transactional_id, brokers, user, and `operation`, the right that the call
    needs as kafka-acls writes it (Read). An ElsaError comes back as it is. `code` is Kafka's name of the error, the
    broker's own text stands in the message.

    >>> translate(ClientError(ClientError.TOPIC_ALREADY_EXISTS), topic="orders").code
    'TOPIC_ALREADY_EXISTS'
    """
    if isinstance(error, errors.ElsaError):
        return error
    client_error = _client_error(error)
    if client_error is None:
        return errors.KafkaError(str(error), code=type(error).__name__, **_standard(facts))
    code = client_error.code()
    if code == ClientError.MSG_SIZE_TOO_LARGE:
        return _too_large(client_error, facts)
    if code == ClientError._QUEUE_FULL:
        return errors.BufferFull(
            "the producer's buffer is full",
            code=client_error.name(),
            retryable=True,
            hint="wait, send slower, or raise `send_buffer`",
            **_standard(facts),
        )
    kind, what, hint = _words(client_error, facts)
    is_retryable = meaning(client_error).name is Class.RETRY or client_error.retriable()
    return kind(
        f"{what}: {client_error.str()} ({client_error.name()})",
        code=client_error.name(),
        retryable=True if is_retryable and kind is not errors.GroupNotEmpty else None,
        hint=hint,
        **_standard(facts),
    )


def _words(error: ClientError, facts: dict[str, Any]) -> tuple[type[errors.KafkaError], str, str | None]:
    """The class of the error, what happened and what to do."""
    code = error.code()
    if code in _ACL:
        # said even of a client that broke on it: made anew, it meets the same
        return errors.AuthorizationFailed, *authorization.missing(code, facts)
    sense = meaning(error)
    if sense.name is Class.REBUILD:
        return _REBUILT
    _, kind, what, hint = _BY_CODE.get(code, ("", errors.KafkaError, None, None))
    if "topic" not in facts and kind in (errors.UnknownTopic, errors.TopicExists):
        return kind, kind.__doc__ or sense.reason, None
    brokers = facts.get("brokers")
    user = facts.get("user")
    # which of the two it is, the broker does not tell
    of_user = f" of user {user!r}, who is unknown or has another password" if user else ""
    said = _Facts(facts, at=f" at {brokers}" if brokers else "", of_user=of_user)
    return kind, (what or sense.reason).format_map(said), hint.format_map(said) if hint else None


class Reports:
    """What a client reports by itself: it says more than the call that failed meanwhile. For any thread.

    A call ends with "no answer"; only the client's own report says that the port is closed, the host unknown
    or the password wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._facts = facts_of(settings)
        self._examination = Examination(settings)
        self._refusal: ClientError | None = None
        self._reason: ClientError | None = None

    def hear(self, error: ClientError) -> None:
        """Take a report (the client's `error_cb`)."""
        if _words(error, {})[0] is errors.AuthenticationFailed or self._own_certificate(error) is not None:
            self._refusal = error
        elif error.code() in _UNREACHABLE and error.code() != ClientError._ALL_BROKERS_DOWN:
            self._reason = error

    def forget(self) -> None:
        """A call succeeded: what was reported before is history."""
        self._refusal = self._reason = None

    def ask(self, call: Callable[[float], T], timeout: float, served: Callable[[], object] = lambda: None) -> T:
        """Make a call that waits up to `timeout` seconds for an answer; for one second when the client is refused.

        librdkafka (2.16) goes on trying with a password or a certificate that was refused, and its calls wait for all
        of their time. `call` takes seconds, and raises ClientException or TimeoutError when nobody has answered; it may
        be made twice. `served` hands over what the client has to say.
        """
        if timeout <= REFUSED_SECONDS:
            return call(timeout)
        try:
            return call(REFUSED_SECONDS)
        except TimeoutError:
            pass
        except ClientException as error:
            if error.args[0].code() not in _UNREACHABLE:
                raise
        served()
        if self._refusal is not None:
            raise ClientException(ClientError(ClientError._TIMED_OUT))
        return call(timeout - REFUSED_SECONDS)

    def translate(self, error: ClientException, **facts: Any) -> errors.ElsaError:
        """As `translate`, with the client's own reason when nobody answered, or what a look at the listener says.

        The look takes a few milliseconds, seconds where the network is slow, and is repeated after half a minute.
        """
        translated = translate(error, **self._facts, **facts)
        better = self._refusal or self._reason
        if isinstance(translated, errors.BrokerUnavailable) and (own := self._own_certificate(better)) is not None:
            return own
        if better is not None and isinstance(translated, errors.BrokerUnavailable):
            translated = translate(better, **self._facts, **facts)
        if not isinstance(translated, errors.BrokerUnavailable) and getattr(translated, "code", "") not in _LOOKED_AT:
            return translated
        found = self._examination.verdict()
        if found is None:
            return translated
        code = getattr(translated, "code", "")
        return errors.AuthenticationFailed(found.text, code=code, hint=found.hint, **_standard(facts))

    def _own_certificate(self, error: ClientError | None) -> errors.AuthenticationFailed | None:
        """What the broker has against this client's certificate, if that is what the report says."""
        found = None if error is None else clientcertificate.refusal(error.str(), self._settings.kafka)
        if error is None or found is None:
            return None
        return errors.AuthenticationFailed(f"{found.text}: {error.str()}", code="_SSL", hint=found.hint)


def is_fatal(error: BaseException | ClientError) -> bool:
    """Whether the client that raised it is of no use any more."""
    client_error = _client_error(error)
    return client_error is not None and meaning(client_error).name is Class.REBUILD


def is_unknown_topic(error: ClientError) -> bool:
    """Whether the topic or the partition was gone when the message was due."""
    return error.code() in _UNKNOWN_TOPIC or error.code() == ClientError._UNKNOWN_PARTITION


def is_forbidden(error: ClientError) -> bool:
    """Whether an ACL is missing."""
    return error.code() in _ACL


def is_given_up(error: ClientError) -> bool:
    """Whether the message was given up by its own client, before the broker said anything."""
    return error.code() in _GIVEN_UP


def facts_of(settings: Settings) -> dict[str, Any]:
    """What every error of a client of these settings says: where the brokers are, and who it wanted to be."""
    return {"brokers": settings.brokers, "user": settings.kafka.get("sasl.username")}


def _client_error(error: object) -> ClientError | None:
    if isinstance(error, ClientError):
        return error
    if isinstance(error, ClientException) and error.args and isinstance(error.args[0], ClientError):
        return error.args[0]
    return None


def _too_large(error: ClientError, facts: dict[str, Any]) -> errors.MessageTooLarge:
    topic = facts.get("topic")
    return errors.MessageTooLarge(
        f"the message is too large for topic {topic!r}: {error.str()}",
        reason=error.str(),
        code=error.name(),
        hint="send less, or raise `max.message.bytes` of the topic (and `message.max.bytes` in `kafka` over 10 MiB)",
        **_standard(facts),
    )


def _standard(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: facts[name] for name in ("topic", "partition", "offset") if name in facts}
