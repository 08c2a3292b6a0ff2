"""One transactional producer, used by one thread: what it produces and the offsets it commits happen together.

Made and used by the mover, and by group managers with transactional handlers. Errors come in the three kinds that
matter to the caller: try the same call again, abort and begin anew, or make a new producer.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaException, TopicPartition
from confluent_kafka.cimpl import Producer as RawProducer

from elsa import errors
from elsa.clock import SYSTEM
from elsa.errors import TransactionAborted, TransactionFenced
from elsa.kafka import codes
from elsa.kafka.config import client_config, milliseconds
from elsa.kafka.errors import ClientError, Reports, facts_of, translate
from elsa.kafka.login import Login
from elsa.kafka.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from elsa.config import Settings
    from elsa.kafka.consumer import Commit
    from elsa.kafka.membership import Proof
    from elsa.message import TopicPartition as Partition

log = logging.getLogger("elsa.kafka")

#: pause before a call that failed for a moment only is made again
_AGAIN_SECONDS = 0.05
#: how often it is looked whether a message was refused, while the others are waited for
_LOOK_SECONDS = 0.1
#: a copy with Elsa's headers of the largest message that Elsa's producer sends
_MOST_BYTES = 10 * 1024 * 1024 + 2 * 64 * 1024
#: A topic refuses whole batches by its limit on messages: where only small ones go together, a refusal means a message.
_BATCH_BYTES = 64 * 1024
#: a call that takes so much longer than it was allowed to will never return
_GRACE_SECONDS = 2.0
_FENCED = codes.numbers(codes.FENCED_PRODUCER)
_PURGED = codes.numbers(codes.PURGED)


def is_verdict(error: BaseException) -> bool:
    """Whether the message itself was refused: the others of its transaction are thrown away with it."""
    return not getattr(error, "retryable", False) and not str(getattr(error, "code", "")).startswith("_PURGE")


class TransactionalProducer:
    """Begins, fills and ends transactions; every method belongs to one thread.

    Raises TransactionAborted when what was done since `begin` has to be done again (call `abort` first),
    TransactionFenced when somebody else has this transactional id now, FatalClientError when this producer is of no
    use any more, BrokerUnavailable when no broker answered in time.
    """

    def __init__(
        self,
        settings: Settings,
        transactional_id: str,
        *,
        timeout: float = 10.0,
        on_throttled: Callable[[str, str, float], None] | None = None,
    ) -> None:
        self.id = transactional_id
        self._settings = settings
        self._timeout = timeout
        self._on_throttled = on_throttled
        self._facts = {**facts_of(settings), "transactional_id": transactional_id, "operation": "Write"}
        #: (why, the topic, the mark) of messages that were refused
        self._failed: list[tuple[ClientError, str, Any]] = []
        #: what this transaction writes to, and has read
        self._topics: set[str] = set()
        self._sources: set[str] = set()
        #: the newest stamp that a broker has put on a message of this transaction, and when it was heard of
        self.stamped: tuple[float, float] | None = None
        self._raw = self._client()

    def _client(self) -> Any:
        self._is_closed = False
        self._login = Login(self._settings)
        self._reports = Reports(self._settings)
        config = client_config(
            self._settings,
            "producer",
            transactional_id=self.id,
            transaction_timeout_ms=milliseconds(self._timeout),
            partitioner="murmur2_random",
            # the commit flushes
            linger_ms=5,
            queue_buffering_max_messages=100_000,
            message_max_bytes=_MOST_BYTES,
            batch_size=_BATCH_BYTES,
            compression_type=self._settings.compression,
            error_cb=self._reported,
            throttle_cb=Throttle("producer", self._on_throttled),
        )
        try:
            return RawProducer(config)
        except KafkaException as error:
            raise errors.ConfigError(f"the producer's configuration is refused: {error.args[0].str()}") from error

    def _reported(self, error: ClientError) -> None:
        self._reports.hear(error)
        self._login.hear(error)
        log.debug("the transactional producer reports: %s", error.str())

    def init(self, timeout: float) -> None:
        """Take the transactional id over: what a predecessor has left open is aborted.

        After `recover` has said so, or `close`, that is done by a new client.
        """
        if self._is_closed:
            self._failed.clear()
            self._raw = self._client()
        self._login.tend(self._raw)
        init, serve = self._raw.init_transactions, partial(self._raw.poll, 0)
        self._patiently(lambda left: self._reports.ask(init, left, serve), timeout)

    def begin(self) -> None:
        """Begin a transaction."""
        self._login.tend(self._raw)
        self._failed.clear()
        self._topics.clear()
        self.stamped = None
        self._call(self._raw.begin_transaction)

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None,
        headers: Any = None,
        partition: int | None = None,
        timestamp: int = 0,
        mark: Any = None,
        delivered: Callable[[Any], None] | None = None,
    ) -> None:
        """Produce one message; `mark` is given back by `failures` if it is refused, and the commit fails then.

        `delivered(message)` says where it lies, which counts when the transaction is committed.
        """

        def report(error: ClientError | None, message: Any) -> None:
            if error is None and message.offset() is None:
                # taken for written because a later one was, which is no proof (see Producer.unconfirmed)
                error = ClientError(ClientError.REQUEST_TIMED_OUT, "a message may not have been written")
            if error is not None:
                self._failed.append((error, topic, mark))
                return
            kind, milliseconds = message.timestamp()
            if kind == TIMESTAMP_LOG_APPEND_TIME:
                self.stamped = milliseconds / 1000, SYSTEM.monotonic()
            if delivered is not None:
                delivered(message)

        self._topics.add(topic)
        where = -1 if partition is None else partition
        while True:
            try:
                self._raw.produce(topic, value, key, where, report, None, timestamp, headers)
            except BufferError:
                self._raw.poll(_AGAIN_SECONDS)
            except KafkaException as refused:
                error = self._cause(refused)
                raw = error.args[0]
                if raw.code() == ClientError._STATE:
                    # what was produced before was refused meanwhile: the transaction can only be aborted
                    raise TransactionAborted(f"transaction {self.id}: {raw.str()}", code=raw.name()) from error
                if raw.txn_requires_abort() or raw.fatal() or raw.code() in _FENCED:
                    self._raise(error, topic=topic)
                self._failed.append((raw, topic, mark))
                return
            else:
                return

    def flush(self, timeout: float) -> int:
        """Wait until what was produced so far is confirmed or refused; how much of it still is neither."""
        try:
            left: int = self._raw.flush(timeout)
        except KafkaException as error:
            self._raise(error)
        except SystemError as error:
            # confluent-kafka 2.16 may return from a flush with its exception still set
            if not isinstance(error.__cause__, KafkaException):
                raise
            self._raise(error.__cause__)
        return left

    def send_offsets(self, commits: Mapping[Partition, Commit], proof: Proof, timeout: float) -> None:
        """Commit these offsets of the member's group with the transaction."""
        self._check_taken()
        self._sources = {where.topic for where in commits}
        lines = [TopicPartition(*where, one.offset, one.metadata) for where, one in commits.items()]
        group = proof.group_metadata()
        send = self._raw.send_offsets_to_transaction

        def call(left: float) -> None:
            try:
                self._bounded(send, lines, group, left)
            except KafkaException as error:
                raise self._cause(error) from error

        self._patiently(call, timeout, group=proof.group)

    def commit(self, timeout: float) -> None:
        """End the transaction: all of it is there for readers."""
        end = SYSTEM.monotonic() + timeout
        # librdkafka (2.16) may never hear of what was sent behind a refused message, and its commit waits for all
        while not self._failed and (left := self.flush(_LOOK_SECONDS)):
            if SYSTEM.monotonic() >= end:
                # the client's commit would go on without asking what became of them
                raise errors.BrokerUnavailable(
                    f"transaction {self.id}: {left} messages were not confirmed within {timeout:g} s", code="_TIMED_OUT"
                )
        self._check_taken()
        self._patiently(self._raw.commit_transaction, end - SYSTEM.monotonic())

    def abort(self, timeout: float) -> None:
        """End the transaction: none of it ever happened."""
        self._patiently(self._raw.abort_transaction, timeout)

    def recover(self, timeout: float, forgiven: tuple[type[Exception], ...] = ()) -> bool:
        """Abort what failed, so that another transaction may begin; False when that needs another `init` first.

        That is after a refused message (librdkafka 2.16 goes on with a wrong sequence number), and after an abort that
        fails with one of the `forgiven`: the `init` ends what is open. What has failed has to be asked for before.
        """
        is_spoiled = bool(self._failed)
        try:
            self.abort(timeout)
        except forgiven as error:
            log.info("transaction %s could not be aborted, its successor does it: %s", self.id, error)
            is_spoiled = True
        if is_spoiled:
            self.close()
        return not is_spoiled

    def _check_taken(self) -> None:
        """Raise TransactionAborted when a message was refused: the rest must not be committed without it."""
        # what was only thrown away says nothing: the client's next call knows why
        error = next((error for error, *_ in self._failed if error.code() not in _PURGED), None)
        if error is not None:
            raise TransactionAborted(f"transaction {self.id}: {error.str()}", code=error.name(), retryable=True)

    def failures(self) -> list[tuple[errors.ElsaError, Any]]:
        """The messages of this transaction that the broker has refused, with their marks."""
        return [(translate(error, **self._facts, topic=topic), mark) for error, topic, mark in self._failed]

    def close(self) -> None:
        """Forget it; what is open is aborted by the broker when its time is over, or by a successor's `init`."""
        if self._is_closed:
            return
        self._is_closed = True
        # what the client failed with for good is raised by whichever call comes next
        with contextlib.suppress(KafkaException, SystemError):
            self._raw.purge()
            self._raw.flush(0.5)

    def _bounded(self, call: Callable[..., object], *arguments: Any) -> None:
        """Make a call on a thread of its own, which is left behind when it does not return: the last argument is when.

        librdkafka 2.16 waits without end for a coordinator that went away at the wrong moment (its issues 5456, 5511).
        """
        found: list[BaseException | None] = []

        def run() -> None:
            try:
                call(*arguments)
            except BaseException as error:
                found.append(error)
            else:
                found.append(None)

        thread = threading.Thread(target=run, name=f"elsa-transaction-{self.id}", daemon=True)
        thread.start()
        thread.join(arguments[-1] + _GRACE_SECONDS)
        if not found:
            raise errors.FatalClientError(f"transaction {self.id}: the client hangs and is made anew")
        if found[0] is not None:
            raise found[0]

    def _call(self, call: Callable[[], object]) -> None:
        try:
            call()
        except KafkaException as error:
            self._raise(error)

    def _patiently(self, call: Callable[[float], object], timeout: float, **facts: Any) -> None:
        """Make a call again as long as it fails for a moment only."""
        end = SYSTEM.monotonic() + timeout
        while True:
            try:
                call(max(0.1, end - SYSTEM.monotonic()))
            except KafkaException as error:
                raw = error.args[0]
                if not raw.retriable() or SYSTEM.monotonic() >= end:
                    self._raise(error, **facts)
                self._raw.poll(_AGAIN_SECONDS)
            else:
                self._reports.forget()
                return

    def _cause(self, error: KafkaException) -> KafkaException:
        """Why an open transaction has failed, for a call that only hears that it has (`_STATE`).

        librdkafka (2.16) tells the next call. It must be one that does no harm where it is taken: an abort follows.
        """
        if error.args[0].code() == ClientError._STATE:
            try:
                self._raw.begin_transaction()
            except KafkaException as known:
                return known if known.args[0].code() != ClientError._STATE else error
        return error

    def _refused(self, raw: ClientError) -> dict[str, Any]:
        """The right that was missing and, as far as the client says it, on what: it names the request, and no topic."""
        if raw.code() == ClientError.GROUP_AUTHORIZATION_FAILED:
            return {"operation": "Read"}
        if raw.code() != ClientError.TOPIC_AUTHORIZATION_FAILED:
            return {"operation": "Write"}
        is_of_offsets = "commit offsets" in raw.str()
        found = {"operation": "Read" if is_of_offsets else "Write"}
        topics = sorted(self._sources if is_of_offsets else self._topics)
        return found | ({"topic": topics[0]} if len(topics) == 1 else {"topic": None, "topics": topics})

    def _raise(self, error: KafkaException, **facts: Any) -> NoReturn:
        raw = error.args[0]
        translated = translate(error, **{**self._facts, **facts, **self._refused(raw)})
        is_forbidden = isinstance(translated, errors.AuthorizationFailed)
        text = f"transaction {self.id}: {translated if is_forbidden else raw.str()}"
        if raw.code() in _FENCED:
            raise TransactionFenced(text, code=raw.name()) from error
        if raw.txn_requires_abort():
            raise TransactionAborted(text, code=raw.name(), retryable=True) from error
        if raw.fatal() and not is_forbidden:
            raise errors.FatalClientError(text, code=raw.name()) from error
        if isinstance(translated, errors.BrokerUnavailable):
            self._raw.poll(0)  # hands over what the client itself has to say
            translated = self._reports.translate(error, **facts)
        raise translated from error


def take_over(
    producer: TransactionalProducer,
    patience: float,
    *,
    is_stopping: Callable[[], bool],
    polled: Callable[[], object],
    waits: Callable[[errors.BrokerUnavailable], None],
) -> None:
    """Call `init` until a broker answers, in `patience` seconds each time; a stop cuts it short.

    `polled` hears before each time that the thread goes on, `waits` of each time that none did: the client comes back
    to it by itself.
    """
    while not is_stopping():
        polled()
        try:
            producer.init(patience)
        except errors.BrokerUnavailable as error:
            waits(error)
        else:
            return
