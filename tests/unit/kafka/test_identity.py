"""Clusters are known by the brokers that were asked."""

from __future__ import annotations

from types import SimpleNamespace

from elsa.kafka import identity


def test_a_cluster_is_known_once_a_client_was_told() -> None:
    identity.learn("identity-1:9092", SimpleNamespace(cluster_id="abc"))
    identity.learn("identity-1:9092", SimpleNamespace(cluster_id=None))
    identity.learn("identity-2:9092", SimpleNamespace())

    assert identity.id_of("identity-1:9092") == "abc"
    assert identity.id_of("identity-2:9092") is None
