"""A secure embedded Kafka for these tests: with listeners whose certificates are bad, and users made on the spot."""

from __future__ import annotations

import contextlib
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
    """The broker; `expired` and `foreign` are addresses with a bad certificate, `plain` one without any."""

    broker: EmbeddedKafka
    expired: str
    foreign: str
    plain: str
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
    good, expired, foreign, plain, controller = free_ports(5)
    clients = f"SASL_SSL://{HOST}:{good},EXPIRED://{HOST}:{expired},FOREIGN://{HOST}:{foreign},PLAIN://{HOST}:{plain}"
    properties = {
        "listeners": f"{clients},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": clients,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:SASL_SSL,EXPIRED:SASL_SSL,FOREIGN:SASL_SSL,"
        "PLAIN:SASL_PLAINTEXT",
    }
    for name in ("expired", "foreign", "plain"):
        properties[f"listener.name.{name}.sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
        properties[f"listener.name.{name}.scram-sha-512.sasl.jaas.config"] = _SCRAM
    for name, store in stores.items():
        properties[f"listener.name.{name}.ssl.keystore.location"] = str(store)
        properties[f"listener.name.{name}.ssl.keystore.password"] = _WORD
        properties[f"listener.name.{name}.ssl.key.password"] = _WORD
    with EmbeddedKafka(port=good, ephemeral=True, secure=True, properties=properties) as broker:
        yield Secure(
            broker, f"{HOST}:{expired}", f"{HOST}:{foreign}", f"{HOST}:{plain}", other_authority=authority.certificate
        )
