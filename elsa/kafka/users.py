"""Passwords and rights of a cluster's users, set by one who may; called by the embedded broker and by tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from elsa.kafka.config import client_config
from elsa.kafka.errors import facts_of, translate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from elsa.acls import Right
    from elsa.config import Settings

#: the least that Kafka takes; the passwords are random, so that guessing is no matter of speed
ITERATIONS = 4096
_TIMEOUT_SECONDS = 20.0
_ANY_HOST = "*"
_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}
#: how Kafka calls the one resource of its kind
_CLUSTER = "kafka-cluster"
_OPERATIONS = {operation.name.replace("_", "").lower(): operation for operation in AclOperation}


class Users:
    """Every method waits until the cluster has done it, and raises Elsa's errors."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = AdminClient(client_config(settings, "admin"))

    def set_passwords(self, passwords: Mapping[str, str]) -> None:
        """Let these users log in with these passwords by SCRAM-SHA-256 and SCRAM-SHA-512; others stay as they are."""
        mechanisms = (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
        # one request names each user once
        for mechanism in mechanisms:
            wanted: list[UserScramCredentialAlteration] = [
                UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, ITERATIONS), password.encode())
                for user, password in passwords.items()
            ]
            self._wait(self._admin.alter_user_scram_credentials(wanted, request_timeout=_TIMEOUT_SECONDS))

    def grant(self, user: str, rights: Iterable[Right]) -> None:
        """Give the user these rights; those that it has stay."""
        wanted = [self._binding(AclBinding, user, right) for right in rights]
        if wanted:
            self._wait(self._admin.create_acls(wanted, request_timeout=_TIMEOUT_SECONDS))

    def revoke(self, user: str, rights: Iterable[Right]) -> None:
        """Take these rights away; one that the user does not have is no error."""
        wanted = [self._binding(AclBindingFilter, user, right) for right in rights]
        if wanted:
            self._wait(self._admin.delete_acls(wanted, request_timeout=_TIMEOUT_SECONDS))

    @staticmethod
    def _binding(kind: Any, user: str, right: Right) -> Any:
        return kind(
            _RESOURCES[right.resource],
            _CLUSTER if right.resource == "cluster" else right.name,
            ResourcePatternType.PREFIXED if right.is_prefix else ResourcePatternType.LITERAL,
            f"User:{user}",
            _ANY_HOST,
            _OPERATIONS[right.operation.lower()],
            AclPermissionType.ALLOW,
        )

    def _wait(self, futures: Mapping[Any, Any]) -> None:
        try:
            for future in futures.values():
                future.result(_TIMEOUT_SECONDS + 1)
        except KafkaException as error:
            raise translate(error, **facts_of(self._settings), operation="Alter") from error
