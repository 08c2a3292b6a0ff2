"""Kafka for tests: one embedded broker a session, topics and groups that are cleaned up.

Called by the pytest plugin and tests/conftest.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from elsa.broker import EmbeddedKafka
from elsa.broker.jars import classpath
from elsa.broker.java import find_java
from elsa.errors import JarsUnavailable, JavaMissing
from elsa.kafka import probe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: addresses of a running cluster that the tests use instead of the embedded one
BROKERS_VARIABLE = "ELSA_TEST_BROKERS"


@dataclass(frozen=True, slots=True)
class KafkaService:
    """A Kafka that tests share: its addresses, and whether it is the embedded one."""

    bootstrap: str
    is_embedded: bool


@functools.cache
def missing() -> str | None:
    """Why no embedded broker can be had on this machine, or None; fetches the jars when they are not cached."""
    try:
        find_java()
        classpath()
    except (JavaMissing, JarsUnavailable) as error:
        return str(error)
    return None


def require_embedded() -> None:
    """Skip the test when no embedded broker can be had; with `CI=true` fail it."""
    reason = missing()
    if reason is None:
        return
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"CI=true, and no Kafka can be had: {reason}", pytrace=False)
    pytest.skip(f"no Kafka can be had: {reason}")


def require_kafka() -> None:
    """As `require_embedded`, and content with a running cluster (ELSA_TEST_BROKERS)."""
    if not os.environ.get(BROKERS_VARIABLE):
        require_embedded()


@contextlib.contextmanager
def session_kafka(shared: Path | None) -> Iterator[KafkaService]:
    """The Kafka of one test session; `shared` is a folder that all processes of the session see (xdist)."""
    running = os.environ.get(BROKERS_VARIABLE)
    if running:
        yield KafkaService(running, is_embedded=False)
    elif shared is None:
        with EmbeddedKafka(ephemeral=True) as kafka:
            yield KafkaService(kafka.bootstrap, is_embedded=True)
    else:
        with _shared_kafka(shared) as bootstrap:
            yield KafkaService(bootstrap, is_embedded=True)


@contextlib.contextmanager
def _shared_kafka(folder: Path) -> Iterator[str]:
    """One broker for several processes: the first one starts it, and ends it when the others have let go."""
    folder.mkdir(parents=True, exist_ok=True)
    address = folder / "kafka.json"
    own: EmbeddedKafka | None = None
    with (folder / "users.lock").open("w") as users:
        with _exclusive(folder / "start.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            bootstrap = _running(address)
            if bootstrap is None:
                own = EmbeddedKafka(ephemeral=True).start()
                bootstrap = own.bootstrap
                address.write_text(json.dumps({"pid": os.getpid(), "bootstrap": bootstrap}))
        try:
            yield bootstrap
        finally:
            if own is not None:
                with _exclusive(folder / "start.lock"):
                    address.unlink(missing_ok=True)
                fcntl.flock(users, fcntl.LOCK_EX)
                own.stop()


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _running(address: Path) -> str | None:
    try:
        told = json.loads(address.read_text())
        os.kill(told["pid"], 0)
    except (OSError, ValueError):
        return None
    bootstrap: str = told["bootstrap"]
    return bootstrap


class Topics:
    """Creates topics with unique names, and deletes them with `clean_up`."""

    def __init__(self, bootstrap: str, label: str = "") -> None:
        self._bootstrap = bootstrap
        self._label = label
        self._created: list[str] = []

    def __call__(self, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Create a topic and return its name."""
        name = unique_name(self._label)
        probe.create_topic(self._bootstrap, name, partitions, config)
        self._created.append(name)
        return name

    def clean_up(self) -> None:
        """Delete what was created."""
        probe.delete_topics(self._bootstrap, self._created)
        self._created.clear()


class Groups:
    """Hands out unique group names, and deletes those groups with `clean_up`."""

    def __init__(self, bootstrap: str, label: str = "") -> None:
        self._bootstrap = bootstrap
        self._label = label
        self._named: list[str] = []

    def __call__(self) -> str:
        """Return a name that no other test has."""
        name = unique_name(self._label)
        self._named.append(name)
        return name

    def clean_up(self) -> None:
        """Delete the groups; those with members that have not expired yet stay."""
        probe.delete_groups(self._bootstrap, self._named)
        self._named.clear()


def unique_name(label: str = "") -> str:
    """`it-<label>-<random>`, legal as the name of a topic, a group or an App."""
    legal = re.sub(r"[^a-zA-Z0-9]+", "-", label).strip("-").lower()[:60]
    return "-".join(part for part in ("it", legal, uuid.uuid4().hex[:10]) if part)
