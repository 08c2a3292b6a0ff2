"""The Kafka of somebody who develops: one that answers already, else an embedded one; called by `elsa dev`."""

from __future__ import annotations

import ipaddress
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from elsa.broker.cluster import EmbeddedKafka
from elsa.broker.ports import LOOPBACK
from elsa.config import override
from elsa.errors import AuthorizationFailed, BrokerUnavailable, ConfigError, EmbeddedBrokerError, PortInUse
from elsa.kafka.admin import Admin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from elsa.broker.jars import Progress
    from elsa.config import Loaded, Settings

_PORT = 9092
_CONNECT_SECONDS = 2.0
#: a Kafka that has just begun to listen answers within this time
_ANSWER_SECONDS = 5.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class LocalKafka:
    """Where Kafka is, and the broker that was started for it; None when it was there before."""

    bootstrap: str
    broker: EmbeddedKafka | None = None


def find_or_start(
    loaded: Loaded,
    *,
    port: int | None = None,
    ephemeral: bool = False,
    data_dir: Path | None = None,
    on_progress: Progress | None = None,
) -> LocalKafka:
    """The Kafka at the address of the settings, or at `port` of this machine; started there when none answers.

    `port` 0 starts one at any free port without looking; the rest is as of EmbeddedKafka. Raises BrokerUnavailable
    when none answers on another machine, PortInUse when something else does here, ConfigError for a wish that can't
    be met, and what EmbeddedKafka raises.
    """
    settings = (override(loaded, brokers=f"{LOOPBACK}:{port}") if port else loaded).settings
    if port != 0 and _answers(settings):
        if ephemeral or data_dir is not None:
            raise ConfigError(
                f"a Kafka answers at {settings.brokers} already, so none is started that could keep or forget anything",
                hint="leave --ephemeral and --data-dir out, or start another one beside it: --port 0",
            )
        return LocalKafka(settings.brokers)
    security = str(settings.kafka.get("security.protocol", "plaintext"))
    if security.lower() != "plaintext":
        raise ConfigError(
            f"no Kafka answers at {settings.brokers}, and an embedded one speaks no {security} (kafka "
            "security.protocol)",
            hint="leave that setting to production: ELSA_KAFKA__SECURITY__PROTOCOL=plaintext; or start a secure one "
            "beside it (elsa broker --secure) and take the settings that it names",
        )
    wanted = _addresses(settings.brokers)[0][1] if port is None else port
    broker = EmbeddedKafka(1, wanted, data_dir, ephemeral=ephemeral, on_progress=on_progress)
    broker.start()
    return LocalKafka(broker.bootstrap, broker)


def _answers(settings: Settings) -> bool:
    """Whether a Kafka is there; raises when something is that can't be it, or when it is wanted elsewhere."""
    addresses = _addresses(settings.brokers)
    is_here = all(_is_loopback(host) for host, _ in addresses)
    listening = next((port for host, port in addresses if is_here and _listens(host, port)), None)
    if is_here and listening is None:
        return False
    try:
        Admin(settings).partition_counts(_ANSWER_SECONDS)
    except AuthorizationFailed:
        return True
    except BrokerUnavailable as error:
        if is_here:
            raise PortInUse(
                f"port {listening} of this machine is taken by something that does not answer as Kafka",
                hint="stop it, or take another port: --port 0 takes any free one",
            ) from error
        raise BrokerUnavailable(
            f"no Kafka answers at {settings.brokers}, and it is no address of this machine, where one could be started",
            hint="start it, or leave the setting brokers (ELSA_BROKERS) out to have one started at localhost:9092",
        ) from error
    return True


def _addresses(brokers: str) -> list[tuple[str, int]]:
    found = []
    for part in brokers.split(","):
        host, colon, port = part.rpartition("://")[2].rpartition(":")
        # without a port: an IPv6 address ends in a bracket
        has_port = bool(colon) and port.isdecimal()
        found.append((host if has_port else part.rpartition("://")[2], int(port) if has_port else _PORT))
    return [(host.strip("[]"), port) for host, port in found]


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), _CONNECT_SECONDS):
            return True
    except OSError:
        return False


class BrokerWatch:
    """Tells once when a broker ends by itself, from a thread that has it to itself between `start` and `stop`."""

    def __init__(self, broker: EmbeddedKafka, on_end: Callable[[], None]) -> None:
        self._broker = broker
        self._on_end = on_end
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="elsa-broker-watch", daemon=True)
        #: why the broker ended, None while it runs
        self.error: EmbeddedBrokerError | None = None

    def start(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread; idempotent."""
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                self._broker.wait(_LOOK_SECONDS)
            except EmbeddedBrokerError as error:
                self.error = error
                self._on_end()
                return
