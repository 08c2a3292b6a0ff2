"""A worker process shows itself and the user's own metrics beside Elsa's."""

from __future__ import annotations

from prometheus_client import REGISTRY, Counter

from elsa.observe.merge import snapshot
from elsa.observe.metrics import PrometheusObserver
from elsa.observe.registry import process_registry


def test_a_snapshot_has_the_process_and_the_users_metrics() -> None:
    carts = Counter("it_observe_carts", "Carts.")
    try:
        names = {family[0] for family in snapshot(PrometheusObserver(), process_registry())}
    finally:
        REGISTRY.unregister(carts)

    assert {"elsa_build_info", "process_resident_memory_bytes", "python_info", "it_observe_carts_total"} <= names
