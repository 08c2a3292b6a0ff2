"""prometheus_client's default registry, looked up when a worker process is scraped.

Importing prometheus_client takes 90 ms, so a worker that nobody has scraped yet has not paid for it.
"""

from __future__ import annotations

from typing import Any


def process_registry() -> Any:
    """The registry of `process_*`, `python_*` and the user's own metrics; a second source for `snapshot`.

    >>> from elsa.observe.merge import snapshot
    >>> from elsa.observe.metrics import PrometheusObserver
    >>> families = snapshot(PrometheusObserver(), process_registry())
    >>> "python_info" in [name for name, *_ in families]
    True
    """
    from prometheus_client import REGISTRY  # noqa: PLC0415 - see above

    return REGISTRY
