"""Reads from a node's logs why it stopped and names the error; called by the cluster when a node has ended."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from elsa.errors import BrokerStartError, DataDirectoryError, EmbeddedBrokerError, PortInUse

if TYPE_CHECKING:
    from pathlib import Path

    from elsa.broker.node import Node

_TAIL_BYTES = 64 * 1024
_SHOWN_LINES = 15
_DISK_FULL = ("No space left on device", "Disk quota exceeded", "There is not enough space on the disk")
_PORT_TAKEN = ("Address already in use", "SocketException: Address")
_CORRUPT = (
    "meta.properties",
    "node ID not found in",
    "InconsistentClusterIdException",
    "InconsistentBrokerIdException",
    "CorruptRecordException",
    "CorruptSnapshotException",
    "Found invalid",
    "KafkaStorageException",
    "All of the log directories",
)


def tail(path: Path, size: int = _TAIL_BYTES, *, since: int = 0) -> str:
    """The last `size` bytes of a log as text, not reaching before the offset `since`; empty when there is none."""
    try:
        with path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            # A log that was rolled meanwhile is shorter than where we began: then all of it is new.
            log.seek(max(end - size, since if since <= end else 0))
            return log.read().decode(errors="replace")
    except OSError:
        return ""


def explain(node: Node, root: Path, what: str, *, since: tuple[int, int] = (0, 0)) -> EmbeddedBrokerError:
    """The error that the node's logs tell of; `since` are the sizes of its log and console when it was started."""
    text = tail(node.log, since=since[0]) + tail(node.console, since=since[1])
    if any(sign in text for sign in _DISK_FULL):
        return DataDirectoryError(
            f"{what}: the disk of {root} is full",
            hint="free some space, or choose a folder on another disk with --data-dir",
        )
    if any(sign in text for sign in _PORT_TAKEN):
        return PortInUse(
            f"{what}: port {node.port} or {node.controller_port} of 127.0.0.1 was taken meanwhile",
            hint="start again, or choose another port (--port 0 takes any free one)",
        )
    last = "\n".join(f"    {line}" for line in text.splitlines()[-_SHOWN_LINES:])
    if any(sign in text for sign in _CORRUPT):
        return DataDirectoryError(
            f"{what}: the data in {root} is damaged\n{last}",
            hint=f"remove the folder {root} (its topics are lost) and start again",
        )
    return BrokerStartError(f"{what}; the end of {node.log}:\n{last or '    (empty)'}")


def log_sizes(node: Node) -> tuple[int, int]:
    """How long the node's log and console are now."""
    return _size(node.log), _size(node.console)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
