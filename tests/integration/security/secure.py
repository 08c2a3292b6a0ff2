"""A secure embedded Kafka for these tests: with listeners whose certificates are bad, and users made on the spot."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elsa.broker import EmbeddedKafka
from elsa.broker.certificates import Authority
from elsa.broker.java import find_java
from elsa.broker.ports import free_ports
from elsa.config import Settings
from elsa.kafka.users import Users
from elsa.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from elsa.acls import Right

HOST = "127.0.0.1"
_WORD = "stores-password"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@dataclass(frozen=True, slots=True)
class Secure:
    """The broker; `expired` and `foreign` are addresses with a bad certificate, `plain` one without any.

    `both` asks clients for a certificate beside the password, `certified` for a certificate that names the user alone.
    """

    broker: EmbeddedKafka
    expired: str
    foreign: str
    plain: str
    both: str
    certified: str
    #: who has signed the bad certificates
    other_authority: Path

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap

    def settings(self, user: str = "admin", *, brokers: str | None = None, **kafka: Any) -> Settings:
        """The settings of a user's clients; keywords replace Kafka keys (with _ for .), None takes one away."""
        changed = {key.replace("_", "."): value for key, value in kafka.items()}
        mapping = {key: value for key, value in {**self.broker.client(user), **changed}.items() if value is not None}
        return Settings(name=f"it-{uuid.uuid4().hex[:8]}", brokers=brokers or self.bootstrap, kafka=mapping)

    def topic(self, partitions: int = 1) -> str:
        """A new topic."""
        name = f"it-{uuid.uuid4().hex[:12]}"
        Topics(self.settings()).create(name, partitions=partitions)
        return name

    @property
    def users(self) -> Users:
        """Makes users and gives them rights."""
        return Users(self.settings())

    def user(self, rights: Iterable[Right] = ()) -> dict[str, Any]:
        """A new user with these rights; the `kafka` setting of their clients."""
        name = f"user-{uuid.uuid4().hex[:8]}"
        users = self.users
        users.set_passwords({name: name})
        users.grant(name, rights)
        return {**self.broker.client(), "sasl.username": name, "sasl.password": name}


def command(settings: Settings, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, whose settings come from the environment."""
    return subprocess.run(
        [sys.executable, "-m", "elsa", *arguments],
        env=environment(settings),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def environment(settings: Settings) -> dict[str, str]:
    """The variables that give a process these settings."""
    keys = {f"ELSA_KAFKA__{key.replace('.', '__').upper()}": str(value) for key, value in settings.kafka.items()}
    return {**os.environ, "ELSA_BROKERS": settings.brokers, "ELSA_NAME": settings.name, **keys}


@contextlib.contextmanager
def secure_kafka(folder: Path) -> Iterator[Secure]:
    """Start it; `folder` is for the certificates that are bad."""
    words = folder / "stores.password"
    words.write_text(_WORD)
    authority = Authority(find_java(), folder, words)
    authority.make("Another authority")
    stores = {
        "expired": authority.issue("expired", [HOST], days=1, start="-10d"),
        "foreign": authority.issue("foreign", ["kafka.example.org"]),
    }
    names = ("SASL_SSL", "EXPIRED", "FOREIGN", "PLAIN", "BOTH", "CERTIFIED")
    *ports, controller = free_ports(len(names) + 1)
    clients = ",".join(f"{name}://{HOST}:{port}" for name, port in zip(names, ports, strict=True))
    properties = {
        "listeners": f"{clients},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": clients,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:SASL_SSL,EXPIRED:SASL_SSL,FOREIGN:SASL_SSL,"
        "PLAIN:SASL_PLAINTEXT,BOTH:SASL_SSL,CERTIFIED:SSL",
        "listener.name.both.ssl.client.auth": "required",
        "listener.name.certified.ssl.client.auth": "required",
        "listener.name.certified.ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
    }
    for name in ("expired", "foreign", "plain", "both"):
        properties[f"listener.name.{name}.sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
        properties[f"listener.name.{name}.scram-sha-512.sasl.jaas.config"] = _SCRAM
    for name, store in stores.items():
        properties[f"listener.name.{name}.ssl.keystore.location"] = str(store)
        properties[f"listener.name.{name}.ssl.keystore.password"] = _WORD
        properties[f"listener.name.{name}.ssl.key.password"] = _WORD
    with EmbeddedKafka(port=ports[0], ephemeral=True, secure=True, properties=properties) as broker:
        expired, foreign, plain, both, certified = (f"{HOST}:{port}" for port in ports[1:])
        yield Secure(broker, expired, foreign, plain, both, certified, other_authority=authority.certificate)
