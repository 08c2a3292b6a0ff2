"""Sends messages: the one producer of an App in a process, shared by all its threads; called by App and worker."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from elsa import headers as header_names
from elsa.clock import SYSTEM
from elsa.context import _ACTIVE as ACTIVE
from elsa.delivery import Delivery, HeldDelivery, HeldSend, confirmed
from elsa.errors import (
    BufferFull,
    ElsaError,
    NotStarted,
)
from elsa.kafka.errors import (
    ClientError,
    ClientException,
    facts_of,
    is_fatal,
    is_forbidden,
    is_given_up,
    is_unknown_topic,
    translate,
)
from elsa.kafka.producer import ProducerClient, in_poll_thread
from elsa.observer import Observer
from elsa.partitions import ANY, Partitions
from elsa.records import check_payloads, milliseconds, records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from elsa.config import Settings
    from elsa.message import RecordMetadata
    from elsa.partitions import Rule
    from elsa.records import Form, Payload

__all__ = ["Delivery", "Producer"]

log = logging.getLogger("elsa.producer")

#: how long a script's last sends may take at exit
EXIT_SECONDS = 10.0


class Producer:
    """One idempotent `acks=all` producer, made at the first send; every method may be called from any thread.

    A thread of its own delivers the reports. Messages of one key keep their order, also through retries
    (`unconfirmed` says when one does not).
    After a fork the child makes its own client; after `close` everything raises NotStarted.

    ```python
    producer = Producer(Settings(brokers="localhost:9092"))
    producer.send("orders", b"v", key="k").result(timeout=10)
    producer.close()
    ```
    """

    def __init__(
        self,
        settings: Settings,
        observer: Observer | None = None,
        *,
        connect: Callable[[Settings], ProducerClient] | None = None,
    ) -> None:
        self._settings = settings
        self._observer = observer or Observer()
        # a plain Observer hears nothing: then nothing is told per message
        listens = type(self._observer).sent is not Observer.sent
        self.sent: Callable[[str, str, float, str | None], None] | None = self._observer.sent if listens else None
        self._connect = connect or partial(
            ProducerClient,
            on_throttled=self._observer.throttled,
            on_statistics=partial(self._observer.statistics, "producer"),
        )
        self._observer.watch_queue("producer", self._queue)
        self._closed = False
        self._reset()
        _producers.add(self)

    def _reset(self) -> None:
        #: guards `_client` and `_produce`
        self._lock = threading.Lock()
        #: held while `close` runs
        self._closing = threading.Lock()
        self._client: ProducerClient | None = None
        #: the one that is being closed, or was
        self._last: ProducerClient | None = None
        #: the one that failed for good last
        self._failed: ProducerClient | None = None
        self._produce: Callable[..., None] = self._first
        self._partitions = Partitions(self._settings, self._open)

    def send(
        self,
        topic: str,
        value: Payload | None,
        *,
        key: Payload | None = None,
        headers: object = (),
        partition: int | None = None,
        timestamp: float | None = None,
        partitioner: Rule | None = None,
        id: str | None = None,  # noqa: A002 - the option's public name
        block: bool | float = True,
        is_traced: bool = True,
    ) -> Delivery:
        """Send one message and return at once; the Delivery says what became of it.

        `value` None is a tombstone. `partition` wins over `partitioner` (a name or `(key, n) -> int`),
        `timestamp` is in seconds since the epoch, `id` becomes the header `elsa-id`. When the buffer is full,
        `block=True` waits for room up to `send_timeout`, a number that many seconds, False not at all. Without
        `is_traced` there is no span: it is Elsa's own.

        Raises UnknownTopic, UnknownPartition, MessageTooLarge, BufferFull, NotStarted before anything is sent.
        The first send to a topic looks it up (about a millisecond). While no broker answers, messages wait
        in the buffer up to `send_timeout`.
        """
        target = ANY
        if partition is not None or partitioner is not None or topic not in self._partitions.simple:
            target = self._partitions.of(topic, key, partition, partitioner, strict=False)
        pairs = None
        if headers or id is not None:
            pairs = header_names.pairs(headers)
            if id is not None:
                pairs.append((header_names.ID, str(id).encode()))
        context = ACTIVE.get()
        held = None if context is None else context.held
        if held is not None and held.is_open:
            check_payloads(value=value, key=key)
            delivery: Delivery = HeldDelivery(topic, self, id=id, _held=held)
        else:
            delivery = Delivery(topic, self) if id is None else Delivery(topic, self, id=str(id))
        created = 0 if timestamp is None else milliseconds(timestamp)
        if held is not None and target == ANY:
            self._partitions.of(topic, key, None, None, strict=False)
        if is_traced and (trace := self._observer.trace_send) is not None:
            pairs, end = trace(topic, pairs or [])
            delivery.add_done_callback(partial(_end_span, end))
        if held is not None:
            where = None if target == ANY else target
            if held.add(HeldSend(topic, value, key, where, pairs, created, delivery)):
                return delivery
        if pairs:
            delivery.headers = tuple(pairs)
        try:
            self._produce(topic, value, key, target, delivery, None, created, pairs)
        except (TypeError, BufferError, ClientException, ElsaError) as error:
            self._overcome(error, (topic, value, key, target, delivery, None, created, pairs), block)
        if self._closed:  # it was closed in between, its flush may have missed this one
            self._settle_late()
        if context is not None:
            context.track(delivery)
        return delivery

    def produce(
        self,
        topic: str,
        messages: Form | Iterable[Form],
        *,
        partition: int | None = None,
        partitioner: Rule | None = None,
        timeout: float | None = None,
    ) -> list[RecordMetadata]:
        """Send messages and wait until Kafka has confirmed all of them; their places in the caller's order.

        Takes bytes or str, (key, value), Record, a mapping with key/value/headers, and iterables of these;
        a Record's own partition wins over `partition`. `timeout` (seconds, default `send_timeout`) is for
        all together. What is malformed or has nowhere to go raises before anything is sent. When Kafka
        refuses some, raises ProduceError with `delivered` and `failed` (MessageTooLarge or BufferFull if
        that is all that went wrong).

        ```python
        elsa.produce("orders", [("k", b"v"), elsa.Record(b"w", headers={"trace": "1"})])
        ```
        """
        wanted = list(records(messages))
        start = SYSTEM.monotonic()
        limit = self._settings.send_timeout if timeout is None else timeout
        targets = [
            self._partitions.of(
                topic, record.key, partition if record.partition is None else record.partition, partitioner
            )
            for record in wanted
        ]
        outcomes: list[Delivery | ElsaError] = []
        for record, target in zip(wanted, targets, strict=True):
            try:
                delivery = self.send(
                    topic,
                    record.value,
                    key=record.key,
                    headers=record.headers,
                    timestamp=record.timestamp,
                    partition=None if target == ANY else target,
                    block=max(0.0, start + limit - SYSTEM.monotonic()),
                )
                outcomes.append(delivery)
            except ElsaError as error:
                outcomes.append(error)
        for outcome in outcomes:
            if isinstance(outcome, Delivery) and not outcome.wait(max(0.0, start + limit - SYSTEM.monotonic())):
                break
        return confirmed(topic, wanted, outcomes, limit)

    def flush(self, timeout: float | None = None) -> int:
        """Send what is buffered at once and wait; returns how many messages are still not confirmed."""
        client = self._client
        return 0 if client is None else client.flush(self._settings.send_timeout if timeout is None else timeout)

    def close(self, timeout: float = EXIT_SECONDS, *, quietly: bool = False) -> int:
        """Flush and end; returns how many messages were given up because Kafka did not confirm them in time.

        Their Deliveries fail; with `quietly` that is not worth a warning. Later sends raise NotStarted. Idempotent.
        """
        with self._closing:
            with self._lock:
                self._closed = True
                client, self._client = self._client, None
                self._produce = self._first
                self._partitions.clear()
            if client is None:
                return 0
            self._last = client
            lost = client.flush(timeout)
            if lost:
                log.log(
                    logging.DEBUG if quietly else logging.WARNING,
                    "%d messages were not confirmed by Kafka within %.3g s and are given up",
                    lost,
                    timeout,
                    extra={"event": "producer_lost", "app": self._settings.name, "messages": lost},
                )
                client.purge()
            client.stop()
            return lost

    def warm_up(self, topic: str) -> int:
        """Connect and look the topic up ahead of the first send; returns its number of partitions."""
        return self._partitions.count(topic, max_age=0.0)

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Wait until a broker answers; raises BrokerUnavailable after `timeout` seconds."""
        self._open().wait_ready(timeout)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What every error of this producer says: where the brokers are, and as whom it came."""
        return facts_of(self._settings)

    def refused(self, topic: str, error: ClientError) -> ClientError:
        """Hear of a refused message (from its Delivery) and say why: of a client that failed, it is its failure.

        A topic that is gone, or may not be written, is looked up again: the client holds what it knew against it
        until somebody asks (librdkafka 2.16).
        """
        if is_unknown_topic(error) or is_forbidden(error):
            self._partitions.forget(topic)
        if is_given_up(error):
            failures = (client.failure for client in (self._client, self._failed) if client is not None)
            return next((failure for failure in failures if failure is not None), error)
        return error

    def unconfirmed(self, delivery: Delivery, message: Any) -> None:
        """Send again what the client takes for written without a place (from its Delivery, in a report).

        When a partition's first message is refused for a moment (its leader is just becoming it) and the next one,
        which was under way already, is taken, librdkafka (2.16) concludes that the first was written. The broker, which
        knows nothing of this producer in that partition, has taken the second without missing it.
        """
        client = self._client or self._last
        topic, partition = message.topic(), message.partition()
        log.warning(
            "a message may not have been written, it is sent again",
            extra={"event": "producer_unconfirmed", "topic": topic, "partition": partition, "limit": topic},
        )
        kind, created = message.timestamp()
        again = (topic, message.value(), message.key(), partition, delivery, None, created if kind else 0)
        error = ClientError(ClientError._PURGE_INFLIGHT, "the producer was closed")
        try:
            if client is not None:
                client.produce(*again, list(delivery.headers))
                return
        except BufferError:
            error = ClientError(ClientError._QUEUE_FULL)
        except ClientException as refused:
            error = refused.args[0]
        delivery(error, message)

    def _queue(self) -> tuple[int, int]:
        """How many messages are not confirmed, and how many there may be."""
        client = self._client
        return (0 if client is None else client.pending()), self._settings.send_buffer

    def _open(self) -> ProducerClient:
        """The client, made when there is none."""
        client = self._client
        if client is not None:
            return client
        with self._lock:
            if self._closed:
                raise NotStarted(f"App {self._settings.name!r} is stopped", hint="start it again, or use another App")
            if self._client is None:
                self._client = self._connect(self._settings)
                self._produce = self._client.produce
            return self._client

    def _first(self, *message: Any) -> None:
        """Stand in for the client's `produce` until there is a client."""
        self._open().produce(*message)

    def target(
        self, topic: str, key: Payload | None, partition: int | None = None, partitioner: Rule | None = None
    ) -> int | None:
        """The partition that a message would go to, None where the client chooses (murmur2 of its key, or any).

        Raises UnknownTopic and UnknownPartition.
        """
        found = self._partitions.of(topic, key, partition, partitioner, strict=False)
        return None if found == ANY else found

    def _overcome(self, error: Exception, message: tuple[Any, ...], block: bool | float) -> None:  # noqa: FBT001 - as below
        """Try again, or raise what keeps a message from being taken: its Delivery, which nobody has, ends its span."""
        try:
            if isinstance(error, TypeError):
                check_payloads(value=message[1], key=message[2])
            if not isinstance(error, BufferError | ClientException):
                raise error
            self._insist(message, block)
        except BaseException as final:
            message[4].settle(final)
            raise

    def _insist(self, message: tuple[Any, ...], block: bool | float) -> None:  # noqa: FBT001 - passed on
        """Try again what was not taken: wait for room, replace a client that has failed for good, or raise."""
        limit = self._settings.send_timeout if block is True else float(block)
        if in_poll_thread():
            limit = 0.0  # this thread alone makes room
        start = SYSTEM.monotonic()
        replaced = False
        while True:
            client = self._open()
            served = client.served
            try:
                client.produce(*message)
            except BufferError as error:
                left = start + limit - SYSTEM.monotonic()
                if left <= 0 or not client.wait_for_room(served, left):
                    raise BufferFull(
                        f"{client.pending()} messages wait for Kafka, there is no room for one more after {limit:g} s",
                        reason="the producer's buffer is full",
                        code="_QUEUE_FULL",
                        retryable=True,
                        topic=message[0],
                        hint="wait for Deliveries, send slower, or raise `send_buffer`",
                    ) from error
            except ClientException as error:
                if replaced or not is_fatal(error):
                    reason = self.refused(message[0], error.args[0])
                    where = {"topic": message[0], "partition": message[3]}
                    raise translate(reason, **self.facts, **where, operation="Write") from error
                self._replace(client)
                replaced = True
            else:
                return

    def _replace(self, failed: ProducerClient) -> None:
        with self._lock:
            if self._client is not failed:
                return
            self._client, self._produce = None, self._first
            self._failed = failed
        log.error("the producer failed for good and is made again", extra={"event": "producer_replaced"})
        failed.purge()
        failed.stop()

    def _settle_late(self) -> None:
        with self._closing:
            if self._last is not None and self._last.flush(1.0):
                self._last.purge()

    def _after_fork(self) -> None:
        if self._client is not None:
            self._client.abandon()
        self._reset()


def _end_span(end: Callable[[RecordMetadata | None, BaseException | None], object], delivery: Delivery) -> None:
    error = delivery.exception(0)
    end(delivery.result(0) if error is None else None, error)


_producers: weakref.WeakSet[Producer] = weakref.WeakSet()


def close_all() -> None:
    """Give the last sends of a script their time, all producers together."""
    start = SYSTEM.monotonic()
    for producer in list(_producers):
        producer.close(max(0.5, start + EXIT_SECONDS - SYSTEM.monotonic()))


def _renew_all() -> None:
    for producer in list(_producers):
        producer._after_fork()


atexit.register(close_all)
os.register_at_fork(after_in_child=_renew_all)
