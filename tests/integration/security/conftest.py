"""A Kafka that asks who calls and may refuse it (StandardAuthorizer), and what grants one user its rights."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

import elsa
from elsa.broker import EmbeddedKafka
from elsa.broker.ports import free_ports
from elsa.config import Settings
from elsa.kafka import probe
from elsa.testing.kafka import require_embedded

from .secure import Secure, secure_kafka

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: the one who is granted things, and one who may never write
USER, READER = "ann", "bo"
PASSWORD = "tiger"
_HOST = "127.0.0.1"


class Guarded:
    """The Kafka with an authorizer: `open` for the super user, `guarded` for users, who may do nothing at first."""

    def __init__(self, opened: str, guarded: str) -> None:
        self.open = opened
        self.guarded = guarded
        self._admin = AdminClient({"bootstrap.servers": opened, "log_level": 0})

    def topic(self, partitions: int = 1) -> str:
        name = f"it-{uuid.uuid4().hex[:12]}"
        probe.create_topic(self.open, name, partitions)
        return name

    def grant(self, resource: str, name: str, operation: str, user: str = USER, *, is_prefix: bool = False) -> None:
        """Let the user do this: `grant("TOPIC", "orders", "READ")`; `is_prefix`: on all names that begin so."""
        binding = AclBinding(
            getattr(ResourceType, resource),
            name,
            ResourcePatternType.PREFIXED if is_prefix else ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            getattr(AclOperation, operation),
            AclPermissionType.ALLOW,
        )
        for future in self._admin.create_acls([binding]).values():
            future.result(10)

    def revoke(self, resource: str, name: str, operation: str, user: str = USER) -> None:
        """Take back what was granted."""
        granted = AclBindingFilter(
            getattr(ResourceType, resource),
            name,
            ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            getattr(AclOperation, operation),
            AclPermissionType.ALLOW,
        )
        for future in self._admin.delete_acls([granted]).values():
            assert future.result(10)

    def settings(self, user: str = USER) -> Settings:
        """The user's settings, under a name that nobody else has."""
        kafka = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
            "sasl.password": PASSWORD,
        }
        return Settings(name=f"it-{uuid.uuid4().hex[:8]}", brokers=self.guarded, kafka=kafka)


@pytest.fixture(scope="package")
def guarded_kafka() -> Iterator[Guarded]:
    require_embedded()
    opened, guarded, controller = free_ports(3)
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    properties = {
        "listeners": f"PLAINTEXT://{_HOST}:{opened},SASL://{_HOST}:{guarded},CONTROLLER://{_HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{_HOST}:{opened},SASL://{_HOST}:{guarded}",
        "controller.quorum.voters": f"1@{_HOST}:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.plain.sasl.jaas.config": f'{login} user_{USER}="{PASSWORD}" user_{READER}="{PASSWORD}";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with EmbeddedKafka(port=opened, ephemeral=True, properties=properties) as kafka:
        yield Guarded(kafka.bootstrap, f"{_HOST}:{guarded}")


@pytest.fixture(scope="package")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """The Kafka with TLS, passwords and ACLs; one for all, because it takes ten seconds to start."""
    require_embedded()
    with secure_kafka(tmp_path_factory.mktemp("certificates")) as started:
        yield started


@pytest.fixture
def user_app(guarded_kafka: Guarded, tmp_path: Path) -> Iterator[Callable[..., elsa.App]]:
    """`user_app(**settings)` makes an App of the user, who has the rights that the test grants."""
    made: list[elsa.App] = []

    def make(**settings: Any) -> elsa.App:
        base = guarded_kafka.settings()
        given = {"brokers": base.brokers, "kafka": base.kafka, "runtime_dir": str(tmp_path), "create_topics": False}
        made.append(elsa.App(base.name, **{**given, "metadata_refresh": 1.0, **settings}))
        return made[-1]

    yield make
    for app in made:
        app.stop(5)
