"""The ids of clusters by their brokers, as metadata has told them; clients write it, spans read it."""

from __future__ import annotations

from typing import Any

_ids: dict[str, str] = {}


def learn(brokers: str, metadata: Any) -> None:
    """Take it from what a client was told of its cluster; from any thread."""
    found = getattr(metadata, "cluster_id", None)
    if found:
        _ids[brokers] = found


def id_of(brokers: str) -> str | None:
    """The id of the cluster behind these brokers; None before anybody was told.

    >>> id_of("nowhere:9092") is None
    True
    """
    return _ids.get(brokers)
