"""Builds the configuration of every Kafka client: the App's `kafka` mapping, filtered, with Elsa's own keys on top."""

from __future__ import annotations

import difflib
import logging
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from confluent_kafka import KafkaException
from confluent_kafka.cimpl import Consumer, Producer

from elsa.clock import SYSTEM
from elsa.errors import ConfigError
from elsa.kafka.login import fresh
from elsa.kafka.properties import COMMON, CONSUMER_ONLY, OWNED, PRODUCER_ONLY
from elsa.kafka.throttle import Throttle
from elsa.redaction import KafkaKeys, is_secret, redact_urls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.clock import Clock
    from elsa.config import Settings

Kind = Literal["consumer", "producer", "admin"]

#: librdkafka repeats itself several times a second while Kafka is away
REPEAT_SECONDS = 60.0


class OncePerMinute(logging.Filter):
    """Lets a log line through once a minute, told apart by its text without the numbers; it says how many it was."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        super().__init__()
        self._clock = clock
        #: when it came through, and how many were held back since
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line was not let through within the last minute (from any thread)."""
        text = _NUMBERS.sub("", record.getMessage())
        now = self._clock.monotonic()
        since, held = self._seen.get(text, (-REPEAT_SECONDS, 0))
        if now - since < REPEAT_SECONDS:
            self._seen[text] = since, held + 1
            return False
        if len(self._seen) > 1_000:  # texts with names in them must not pile up
            self._seen.clear()
        self._seen[text] = now, 0
        if held:
            record.repeated = held
        return True


_NUMBERS = re.compile(r"\d+")

#: where librdkafka's own log lines go
logger = logging.getLogger("elsa.kafka.client")
logger.addFilter(OncePerMinute())


def client_config(settings: Settings, kind: Kind, **owned: Any) -> dict[str, Any]:
    """The configuration of one client: the App's keys that this kind knows, and Elsa's.

    `owned` holds what the caller decides, with `_` for `.` (`group_id="billing"`). Names of the `OWNED`
    table are Elsa's alone; for the others the user's value wins, so that the caller's is a default.
    Raises ConfigError for a key that Elsa owns.

    >>> from elsa.config import Settings
    >>> client_config(Settings(name="shop"), "consumer", group_id="billing")["group.id"]
    'billing'
    """
    _check_owned(settings.kafka)
    foreign = PRODUCER_ONLY if kind == "consumer" else CONSUMER_ONLY
    if kind == "admin":
        foreign = PRODUCER_ONLY | CONSUMER_ONLY
    config = KafkaKeys(
        {
            "bootstrap.servers": settings.brokers,
            "client.id": f"{settings.name}-{kind}-{socket.gethostname()}-{os.getpid()}",
            "topic.metadata.refresh.interval.ms": milliseconds(settings.metadata_refresh),
            # a broker that comes back is found within a second or two, not after librdkafka's ten
            "reconnect.backoff.max.ms": 2_000,
            "logger": logger,
            "throttle_cb": Throttle(kind),
        }
    )
    config |= {name.replace("_", ".") if name not in OWNED else name: value for name, value in owned.items()}
    config |= {name: value for name, value in fresh(settings.kafka).items() if name not in foreign}
    _check_files(config)
    return config


def _check_files(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for a file that is named and not there: the client only says that OpenSSL failed."""
    for name, value in config.items():
        if name.endswith(".location") and isinstance(value, str) and value != "probe" and not Path(value).exists():
            raise ConfigError(
                f"kafka[{name!r}] names the file {value}, which is not there, or may not be looked at",
                hint="a path that is not absolute begins where the program was started",
            )


def _check_owned(kafka: Mapping[str, Any]) -> None:
    """Raise ConfigError when the mapping holds a key that Elsa owns, naming what to use instead."""
    for name in kafka:
        instead = OWNED.get(name)
        if instead is not None:
            raise ConfigError(f"kafka[{name!r}] is Elsa's to set", hint=instead)


def validate_kafka(settings: Settings) -> None:
    """Check the whole `kafka` mapping, so that a wrong key or value fails at start with its name.

    Asks librdkafka itself (clients without a broker: a few milliseconds, no connection), so every key of
    the installed version is known. Raises ConfigError.
    """
    if not settings.kafka:
        return
    for name in settings.kafka:
        if not isinstance(name, str):
            raise ConfigError(f"kafka has a key that is no string: {name!r}")
        if settings.kafka[name] is None:
            raise ConfigError(f"kafka[{name!r}] has no value", hint="leave the key out to get librdkafka's default")
    _check_owned(settings.kafka)
    _check_files(settings.kafka)
    # silent: it would only say that it has no brokers
    offline = {"bootstrap.servers": "", "client.id": settings.name, "log_level": 0, "logger": logger}
    consumer_keys = KafkaKeys({name: value for name, value in settings.kafka.items() if name not in PRODUCER_ONLY})
    producer_keys = KafkaKeys({name: value for name, value in settings.kafka.items() if name not in CONSUMER_ONLY})
    try:
        Consumer({**consumer_keys, **offline, "group.id": settings.name}).close()
        producer = Producer({**producer_keys, **offline, "enable.idempotence": True})
        producer.flush(0)
    except KafkaException as error:
        raise _wrong_key(settings.kafka, str(error.args[0].str())) from error
    except (TypeError, ValueError) as error:
        raise _wrong_key(settings.kafka, str(error)) from error


def _wrong_key(kafka: Mapping[str, Any], text: str) -> ConfigError:
    text = redact_urls(text)
    culprit = next((name for name in sorted(kafka, key=len, reverse=True) if name in text), None)
    if culprit is None:
        return ConfigError(f"the `kafka` mapping is refused: {text}")
    is_known = "No such configuration property" not in text
    if is_secret(culprit) and is_known:
        return ConfigError(f"kafka[{culprit!r}] is refused: its value is not valid")
    hint = None
    if not is_known:
        known = difflib.get_close_matches(culprit, sorted(CONSUMER_ONLY | PRODUCER_ONLY | COMMON | OWNED.keys()), n=1)
        hint = f"did you mean {known[0]!r}?" if known else "see librdkafka's CONFIGURATION.md for the keys"
    return ConfigError(f"kafka[{culprit!r}] is refused: {text}", hint=hint)


def milliseconds(seconds: float) -> int:
    """Seconds as the whole milliseconds that librdkafka takes (never 0 for a positive time)."""
    return max(1, round(seconds * 1_000)) if seconds > 0 else 0
