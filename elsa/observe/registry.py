"""The prometheus_client registries of a worker process, looked up when somebody scrapes.

Importing prometheus_client takes 90 ms, so a worker that nobody has scraped yet has not paid for it.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def process_registry() -> Any:
    """prometheus_client's default registry: `process_*`, `python_*` and every metric of the user's own."""
    from prometheus_client import REGISTRY  # noqa: PLC0415 - see above

    return REGISTRY
