"""One confluent_kafka Producer with the thread that polls it; made and used by elsa.producer."""

from __future__ import annotations

import ctypes
import functools
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from confluent_kafka.cimpl import Producer as RawProducer

from elsa import errors
from elsa.clock import SYSTEM
from elsa.kafka import identity
from elsa.kafka.codes import Class, meaning
from elsa.kafka.config import client_config, milliseconds
from elsa.kafka.errors import ClientError, Reports, facts_of, is_fatal, is_unknown_topic, translate
from elsa.kafka.login import Login
from elsa.kafka.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from elsa.config import Settings

log = logging.getLogger("elsa.kafka")

#: how long a topic may look absent before it is: metadata of a new one takes a moment to spread
PATIENCE_SECONDS = 0.5
STATISTICS_SECONDS = 15
_POLL_SECONDS = 0.1
_RETRY_SECONDS = 0.1
_FLUSH_SECONDS = 0.25
_polling = threading.local()


def in_poll_thread() -> bool:
    """Whether this thread is the one that delivers reports: waiting for a report here would never end."""
    return getattr(_polling, "active", False)


class ProducerClient:
    """An `acks=all` producer, idempotent unless told otherwise; every method may be called from any thread.

    Its own daemon thread polls, so delivery reports come without anybody's help. `produce` is the
    client's C function itself: (topic, value, key, partition, callback, None, timestamp_ms, headers).
    It raises BufferError when the buffer is full and `ClientException` otherwise.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        is_idempotent: bool = True,
        on_throttled: Callable[[str, str, float], None] | None = None,
        on_statistics: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._settings = settings
        #: what this client has failed for good with
        self.failure: ClientError | None = None
        self._reports = Reports(settings)
        self._login = Login(settings)
        self._served = 0
        self._room = threading.Condition()
        self._stopped = threading.Event()
        config = client_config(
            settings,
            "producer",
            acks="all",
            enable_idempotence=is_idempotent,
            partitioner="murmur2_random",
            linger_ms=settings.send_linger * 1_000,
            queue_buffering_max_messages=settings.send_buffer,
            queue_buffering_max_kbytes=262_144,
            message_timeout_ms=milliseconds(settings.send_timeout),
            # copies with headers of messages at a topic's limit must pass; the broker judges the rest
            message_max_bytes=10 * 1024 * 1024,
            topic_metadata_propagation_max_ms=5_000,
            compression_type=settings.compression,
            error_cb=self._on_error,
            throttle_cb=Throttle("producer", on_throttled),
        )
        if on_statistics is not None:
            config["stats_cb"] = lambda text: on_statistics(json.loads(text))
            config["statistics.interval.ms"] = STATISTICS_SECONDS * 1_000
        try:
            self._raw = RawProducer(config)
        except KafkaException as error:
            raise errors.ConfigError(f"the producer's configuration is refused: {error.args[0].str()}") from error
        self.produce = self._raw.produce
        self._thread = threading.Thread(target=self._poll, name=f"elsa-producer-{settings.name}", daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        _polling.active = True
        while not self._stopped.is_set():
            try:
                self._login.tend(self._raw)
                served = self._raw.poll(_POLL_SECONDS)
            except Exception as error:  # a callback's failure must not end the thread that all Deliveries hang on
                served = 1
                if isinstance(error, KafkaException) and is_fatal(error):
                    self._fail(error.args[0])
                else:
                    log.exception("a delivery report failed")
            if served:
                with self._room:
                    self._served += served
                    self._room.notify_all()

    def _fail(self, error: ClientError) -> None:
        """Nothing that is buffered will be sent by this client any more: its reports must not wait for their time."""
        self.failure = error
        log.error(
            "the producer failed for good: %s",
            str(translate(error, **facts_of(self._settings), operation="Write")),
            extra={"event": "producer_failed", "code": error.name(), "limit": error.name()},
        )
        self._raw.purge()

    def _on_error(self, error: ClientError) -> None:
        self._reports.hear(error)
        self._login.hear(error)
        log.debug("the producer reports: %s", error.str(), extra={"event": "producer_error", "code": error.name()})

    @property
    def served(self) -> int:
        """How many reports have been delivered: take it before trying, pass it to `wait_for_room`."""
        return self._served

    def wait_for_room(self, served: int, timeout: float) -> bool:
        """Wait until a report has made room since `served` was read; False when none did in time."""
        with self._room:
            return self._room.wait_for(lambda: self._served != served, timeout)

    def pending(self) -> int:
        """How many messages wait for their report."""
        return len(self._raw)

    def flush(self, timeout: float) -> int:
        """Send at once and wait; returns how many messages still wait for their report."""
        start = SYSTEM.monotonic()
        while True:
            left = start + timeout - SYSTEM.monotonic()
            # in short turns, because a signal is only looked at between them
            remaining = self._flush(min(max(left, 0.0), _FLUSH_SECONDS))
            if not remaining or left <= _FLUSH_SECONDS:
                return remaining

    def purge(self) -> None:
        """Give up everything that is not confirmed: their reports say so."""
        self._raw.purge()
        self._flush(1.0)

    def _flush(self, timeout: float) -> int:
        try:
            return self._raw.flush(timeout)
        except KafkaException as error:
            # what the client failed with for good is raised by whichever call comes next
            if not is_fatal(error):
                raise
            self._fail(error.args[0])
            return len(self._raw)

    def stop(self) -> None:
        """End the polling thread; what is still pending stays without a report (purge first)."""
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(_POLL_SECONDS * 20)

    def abandon(self) -> None:
        """Forget a client inherited through fork: freeing it would wait for threads that don't exist here."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._raw))

    def wait_ready(self, timeout: float) -> None:
        """Wait until a broker has answered; raises BrokerUnavailable or AuthenticationFailed."""
        try:
            self._metadata(timeout)
        except KafkaException as error:
            raise self._reports.translate(error) from error

    def _metadata(self, timeout: float, topic: str | None = None) -> Any:
        look_up = self._raw.list_topics if topic is None else functools.partial(self._raw.list_topics, topic)
        ask = functools.partial(self._reports.ask, lambda left: look_up(timeout=left), timeout)
        if not in_poll_thread():
            return ask()
        # Inside a delivery report this thread is in a poll of the client already, and confluent-kafka 2.16
        # ends the process when the next report of that poll comes after another call from the same thread.
        with ThreadPoolExecutor(1, "elsa-metadata") as pool:
            return pool.submit(ask).result()

    def partition_count(self, topic: str, timeout: float, patience: float = PATIENCE_SECONDS) -> int:
        """How many partitions the topic has; raises UnknownTopic, BrokerUnavailable, AuthorizationFailed."""
        start = SYSTEM.monotonic()
        while True:
            left = start + timeout - SYSTEM.monotonic()
            try:
                metadata = self._metadata(max(left, 0.01), topic)
                found = metadata.topics[topic]
            except KafkaException as error:
                raise self._reports.translate(error) from error
            self._reports.forget()
            identity.learn(self._settings.brokers, metadata)
            if found.error is None and found.partitions:
                return len(found.partitions)
            waited = SYSTEM.monotonic() - start
            wrong = found.error or ClientError(ClientError.LEADER_NOT_AVAILABLE)
            over = waited > (patience if is_unknown_topic(wrong) else timeout)
            if over or not (is_unknown_topic(wrong) or meaning(wrong).name is Class.RETRY):
                raise translate(wrong, **facts_of(self._settings), topic=topic, operation="Write")
            self._stopped.wait(_RETRY_SECONDS)
