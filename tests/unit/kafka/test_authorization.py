"""What is said of a missing ACL."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError as Code

from elsa.kafka import codes
from elsa.kafka.authorization import missing


@pytest.mark.parametrize(
    ("code", "facts", "needs", "options"),
    [
        (
            Code.TOPIC_AUTHORIZATION_FAILED,
            {"topic": "orders", "operation": "Read"},
            "Read on topic 'orders'",
            "--operation Read --topic orders",
        ),
        (
            Code.TOPIC_AUTHORIZATION_FAILED,
            {"topics": ["orders", "sums"], "topic": None, "operation": "Write"},
            "Write on one of the topics 'orders', 'sums'",
            "--operation Write --topic <topic>",
        ),
        (
            Code.TOPIC_AUTHORIZATION_FAILED,
            {"topic": "orders", "operation": "Create"},
            "Create on topic 'orders', or on the cluster",
            "--operation Create --topic orders",
        ),
        (
            Code.GROUP_AUTHORIZATION_FAILED,
            {"group": "billing", "operation": "Read"},
            "Read on group 'billing'",
            "--operation Read --group billing",
        ),
        (
            Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            {"transactional_id": "mover", "operation": "Read"},
            "Write on transactional id 'mover'",
            "--operation Write --transactional-id mover",
        ),
        (
            Code.CLUSTER_AUTHORIZATION_FAILED,
            {"operation": "Write"},
            "IdempotentWrite on the cluster, or Write on any topic",
            "--operation IdempotentWrite --cluster",
        ),
        (
            Code.CLUSTER_AUTHORIZATION_FAILED,
            {"operation": "Write", "topic": "orders"},
            "IdempotentWrite on the cluster, or Write on any topic",
            "--operation Write --topic orders",
        ),
        (
            Code.CLUSTER_AUTHORIZATION_FAILED,
            {"operation": "Describe"},
            "Describe on the cluster",
            "--operation Describe --cluster",
        ),
        (Code.TOPIC_AUTHORIZATION_FAILED, {}, "a right on a topic", "--operation <operation> --topic <topic>"),
    ],
)
def test_the_right_its_resource_and_the_command(code: int, facts: dict[str, str], needs: str, options: str) -> None:
    what, hint = missing(code, {**facts, "brokers": "k:9092"})

    assert what == f"an ACL is missing: this client needs {needs}"
    assert hint == f"kafka-acls --bootstrap-server k:9092 --add --allow-principal User:<name> {options}"


def test_the_command_names_the_user_that_lacks_it() -> None:
    _, hint = missing(Code.GROUP_AUTHORIZATION_FAILED, {"group": "billing", "operation": "Read", "user": "ann"})

    assert "--allow-principal User:ann --operation Read" in hint


def test_every_code_of_a_missing_acl_has_its_words() -> None:
    assert all(missing(code, {}) for code in codes.numbers(codes.ACL))
