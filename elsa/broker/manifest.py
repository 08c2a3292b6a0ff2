"""What Elsa wrote down about a data folder: which cluster lives there; called by the cluster before it starts."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from elsa.broker.jars import KAFKA_VERSION
from elsa.errors import DataDirectoryError

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "cluster.json"
#: what there may be before the manifest is written
_OURS = ("lock", "security", "security.new")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The cluster of one data folder; `is_formatted` is false until every node's folder was formatted."""

    cluster_id: str
    nodes: int
    kafka: str = KAFKA_VERSION
    is_formatted: bool = False

    def write(self, root: Path) -> None:
        """Write it to the folder, whole or not at all."""
        temporary = root / f"{_NAME}.new"
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(root / _NAME)


def new_manifest(nodes: int) -> Manifest:
    """A manifest with a fresh cluster id."""
    while True:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # Kafka's command line takes one that begins with a dash for an option.
        if not cluster_id.startswith("-"):
            return Manifest(cluster_id, nodes)


def require_own(root: Path) -> None:
    """Raise DataDirectoryError when the folder holds something that is not a broker's: it is not ours to fill."""
    if root.exists() and not root.is_dir():
        raise DataDirectoryError(f"{root} is no folder", hint="choose another one with --data-dir")
    try:
        foreign = root.exists() and not (root / _NAME).exists() and any(p.name not in _OURS for p in root.iterdir())
    except OSError as error:
        raise DataDirectoryError(f"the data folder {root} cannot be read: {error.strerror}") from error
    if foreign:
        raise DataDirectoryError(
            f"{root} is not empty and holds no data of an embedded broker",
            hint="choose an empty or a new folder with --data-dir",
        )


def read_manifest(root: Path, nodes: int) -> Manifest | None:
    """The folder's manifest, None when it is new; raises DataDirectoryError when it is damaged or of another size."""
    try:
        manifest = Manifest(**json.loads((root / _NAME).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise DataDirectoryError(
            f"{root / _NAME} is damaged ({error})",
            hint=f"remove the folder {root} (its topics are lost) and start again",
        ) from error
    if manifest.nodes != nodes:
        raise DataDirectoryError(
            f"{root} holds a cluster of {manifest.nodes} node(s), not of {nodes}",
            hint=f"start it with --nodes {manifest.nodes}, or choose another folder with --data-dir",
        )
    return manifest
