"""What a worker process says of itself on `/statusz`: versions, partitions with lag, running calls; no secrets."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from elsa.observe.partitions import lag

if TYPE_CHECKING:
    from elsa.worker.runtime import Runtime


def status(runtime: Runtime) -> dict[str, Any]:
    """The status of now; a group manager that hangs is waited for a moment, and its partitions are missing then."""
    return {
        "name": runtime.name,
        "ready": runtime.is_ready,
        "versions": versions(),
        "groups": sorted({binding.group for binding in runtime.bindings if binding.group is not None}),
        "partitions": [{**dataclasses.asdict(each), "lag": lag(each)} for each in runtime.snapshots()],
        # keys belong to the messages, and may be names of people
        "running": [
            {name: value for name, value in call.items() if name != "key"}
            for call in runtime.running(with_stacks=False)
        ],
    }


def versions() -> dict[str, str]:
    """Of Elsa, Python, and the Kafka client."""
    from elsa import __version__  # noqa: PLC0415 - avoids an import cycle through the root

    found = {"elsa": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    # looked up, not imported: elsa.kafka alone imports it
    client = sys.modules.get("confluent_kafka")
    if client is not None:
        found |= {"confluent_kafka": str(client.__version__), "librdkafka": str(client.libversion()[0])}
    return found
