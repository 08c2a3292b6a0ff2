"""One confluent_kafka AdminClient, made when it is needed, whose answers are waited for; under elsa.kafka.admin."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from elsa.clock import SYSTEM
from elsa.errors import BrokerUnavailable, ConfigError, ElsaError, KafkaError
from elsa.kafka import codes, identity
from elsa.kafka.config import client_config
from elsa.kafka.errors import ClientError, Reports
from elsa.kafka.login import Login

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.config import Settings

T = TypeVar("T")

#: default limit of every call, seconds
TIMEOUT_SECONDS = 5.0
_RETRY_SECONDS = 0.05
_LOST = {ClientError._TRANSPORT, ClientError._ALL_BROKERS_DOWN} | codes.numbers(codes.CREDENTIALS)
#: how long brokers may take to show that it is the client which is at fault
_LOOK_SECONDS = 1.0
#: a client that fails is made anew when it is so old
RENEW_SECONDS = 10.0


class ClusterClient:
    """What every call needs of the client; for any thread.

    It is made at the first call, again in a forked child, when it has lost a coordinator for good, when the password in
    its file has changed, and when it goes on failing.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._pause = threading.Event()
        self._raw: AdminClient | None = None
        self._held = threading.local()
        #: whether it has told of a broker that it could not reach any more, or that refused it
        self._has_lost = False
        #: whether no broker has answered its last call
        self._is_failing = False
        self._made_at = 0.0
        self._reports = Reports(settings)
        self._login = Login(settings)
        _admins.add(self)

    def _client(self) -> AdminClient:
        with self._lock:
            before = self._raw  # keeps it until the lock is free: to end a client takes a moment
            if before is not None:
                before.poll(0)  # hands over what it has to say
                # A client that was refused waits up to 10 s before it logs in again. While its connections stand it
                # stays: the file may have the new password before the brokers do.
                if (self._has_lost and self._login.has_changed()) or self._is_stuck():
                    self._raw = None
            if self._raw is None:
                self._raw, self._has_lost = self._made(), False
            client = self._raw
        # the last reference of a client ends what is asked of it: each thread keeps its own until it asks again
        self._held.client = client
        return client

    def _is_stuck(self) -> bool:
        """Whether it may be the client that is at fault.

        One of librdkafka 2.16 that has lived through a broker that stood still may never reach it again.
        """
        return self._is_failing and SYSTEM.monotonic() - self._made_at >= RENEW_SECONDS

    def _made(self) -> AdminClient:
        self._is_failing, self._made_at = False, SYSTEM.monotonic()
        self._reports.forget()
        self._login = Login(self._settings)
        try:
            return AdminClient(client_config(self._settings, "admin", error_cb=self._reported))
        except KafkaException as error:
            raise ConfigError(f"the admin client's configuration is refused: {error.args[0].str()}") from error

    def _reported(self, error: ClientError) -> None:
        self._reports.hear(error)
        self._has_lost = self._has_lost or error.code() in _LOST

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        _abandoned.extend((self._raw, getattr(self._held, "client", None)))
        self._raw = None

    def _wait(self, future: Any, timeout: float, **facts: Any) -> Any:
        try:
            # the client gives up by itself after `timeout`; a moment more, so that its own reason comes first
            result = self._reports.ask(future.result, timeout + 1, self._serve)
        except KafkaException as error:
            raise self._translated(error, **facts) from error
        except TimeoutError as error:
            self._is_failing = True
            raise BrokerUnavailable(
                f"no Kafka broker answered at {self._settings.brokers} within {timeout:g} s", code="_TIMED_OUT"
            ) from error
        self._succeeded()
        return result

    def _translated(self, error: KafkaException, **facts: Any) -> ElsaError:
        self._serve()
        translated = self._reports.translate(error, **facts)
        self._is_failing = isinstance(translated, BrokerUnavailable)
        return translated

    def _serve(self) -> None:
        """Take over what the client itself has to say."""
        self._held.client.poll(0)

    def _succeeded(self) -> None:
        self._reports.forget()
        self._is_failing = False

    def _metadata(self, timeout: float) -> Any:
        """The cluster's brokers and all topics; asking for one topic could create it."""
        try:
            client = self._client()
            found = self._reports.ask(lambda left: client.list_topics(timeout=left), timeout, self._serve)
        except KafkaException as error:
            raise self._translated(error, operation="Describe") from error
        self._succeeded()
        identity.learn(self._settings.brokers, found)
        return found

    def _patiently(self, ask: Callable[[float], T], timeout: float) -> T:
        """Ask again while a leader or coordinator that was just chosen refuses: the client does not by itself."""
        end = SYSTEM.monotonic() + timeout
        while True:
            try:
                return ask(max(0.1, end - SYSTEM.monotonic()))
            except KafkaError as error:
                is_moving = error.retryable and not isinstance(error, BrokerUnavailable)
                if not is_moving or SYSTEM.monotonic() >= end:
                    raise
            self._pause.wait(_RETRY_SECONDS)

    def _of_coordinator(self, ask: Callable[[float], T], timeout: float) -> T:
        """Ask something of a group's coordinator, once more by a client made anew where this one has lost it.

        The first try has half of the time, so that nobody waits longer when no broker answers; the second all of it.
        """
        client = self._steady_client()
        try:
            return ask(timeout / 2)
        except BrokerUnavailable:
            if not self._renew(client):
                raise
        return ask(timeout)

    def _steady_client(self) -> AdminClient:
        """A client that has lost no broker yet.

        librdkafka 2.16 never finds a coordinator again that it has lost once: it times out for ever while all else is
        answered, and ends the process (an assertion) when a broker comes or goes meanwhile.
        """
        client = self._client()
        if self._has_lost:
            self._drop(client)
        return self._client()

    def _renew(self, client: AdminClient) -> bool:
        """Make the client anew if brokers answer it, though no coordinator does; whether that is so."""
        try:
            self._metadata(_LOOK_SECONDS)
        except KafkaError:
            return False
        self._drop(client)
        return True

    def _drop(self, client: AdminClient) -> None:
        with self._lock:
            if self._raw is client:  # else another thread has done it
                self._raw = None


#: clients inherited through fork: kept alive, because freeing one waits for threads that don't exist here
_abandoned: list[Any] = []
_admins: weakref.WeakSet[ClusterClient] = weakref.WeakSet()


def _renew_all() -> None:
    for admin in list(_admins):
        admin._after_fork()


os.register_at_fork(after_in_child=_renew_all)
