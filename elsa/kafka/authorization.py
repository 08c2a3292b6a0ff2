"""Says which ACL is missing on what, and the command that grants it; for the errors of a broker with an authorizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError as ClientError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: code -> (the fact that names the resource, what it is called, its option of kafka-acls)
_RESOURCES = {
    ClientError.TOPIC_AUTHORIZATION_FAILED: ("topic", "topic", "--topic"),
    ClientError.GROUP_AUTHORIZATION_FAILED: ("group", "group", "--group"),
    ClientError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (
        "transactional_id",
        "transactional id",
        "--transactional-id",
    ),
    ClientError.DELEGATION_TOKEN_AUTHORIZATION_FAILED: ("token", "delegation token", "--delegation-token"),
}


def missing(code: int, facts: Mapping[str, Any]) -> tuple[str, str]:
    """What is needed on which resource, and how it is granted.

    `facts` may hold the resource's name (topic, group, transactional_id; topics, if it is one of those), `brokers`, the
    `user` that lacks it, and `operation`: what the call needs on it, as kafka-acls writes it.

    >>> missing(ClientError.TOPIC_AUTHORIZATION_FAILED, {"topic": "orders", "operation": "Read"})[0]
    "an ACL is missing: this client needs Read on topic 'orders'"
    """
    operation = _operation(code, facts.get("operation"))
    needed = operation or "a right"
    if code == ClientError.CLUSTER_AUTHORIZATION_FAILED:
        resource, option = "the cluster", "--cluster"
        if operation == "IdempotentWrite":
            resource += ", or Write on any topic"
            # the least of the two
            if topic := facts.get("topic"):
                operation, option = "Write", f"--topic {topic}"
    else:
        fact, noun, flag = _RESOURCES[code]
        name = facts.get(fact)
        several = facts.get(f"{fact}s")
        resource = f"{noun} {name!r}" if name else f"a {noun}"
        if several and not name:
            resource = f"one of the {noun}s {', '.join(map(repr, several))}"
        option = f"{flag} {name or f'<{noun}>'}"
        if operation == "Create":
            resource += ", or on the cluster"
    user = facts.get("user") or "<name>"
    command = f"--add --allow-principal User:{user} --operation {operation or '<operation>'} {option}"
    return (
        f"an ACL is missing: this client needs {needed} on {resource}",
        f"kafka-acls --bootstrap-server {facts.get('brokers', '<brokers>')} {command}",
    )


def _operation(code: int, operation: str | None) -> str | None:
    if code == ClientError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return "Write"
    if code == ClientError.CLUSTER_AUTHORIZATION_FAILED and operation == "Write":
        # what an idempotent producer needs that may write to no topic at all
        return "IdempotentWrite"
    return operation
