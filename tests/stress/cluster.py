"""Three brokers with two listeners each: one for everybody, one through the wire that can be cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.broker import EmbeddedKafka
from elsa.broker.node import server_properties, write_configuration
from elsa.broker.ports import LOOPBACK, free_ports

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stress.proxy import Wire

NODES = 3


class Cluster(EmbeddedKafka):
    """An embedded Kafka whose brokers can also be reached through a wire, at `proxied`.

    What it keeps in `folder` outlives it: of a lost message it tells the rest.
    """

    def __init__(self, wire: Wire, folder: Path) -> None:
        super().__init__(NODES, data_dir=folder)
        self._wire = wire
        self._ports: list[int] = []

    @property
    def proxied(self) -> str:
        """The addresses for the one whose network is cut."""
        return ",".join(f"{LOOPBACK}:{port}" for port in self._ports)

    def _assign_ports(self) -> None:
        super()._assign_ports()
        taken = frozenset(port for node in self._nodes for port in (node.port, node.controller_port))
        listeners = free_ports(NODES, taken=taken)
        self._ports = [self._wire.add(LOOPBACK, port) for port in listeners]
        for node, inner, outer in zip(self._nodes, listeners, self._ports, strict=True):
            settings = server_properties(node, self._nodes, {})
            settings["listeners"] += f",PROXIED://{LOOPBACK}:{inner}"
            settings["advertised.listeners"] += f",PROXIED://{LOOPBACK}:{outer}"
            settings["listener.security.protocol.map"] += ",PROXIED:PLAINTEXT"
            write_configuration(node, settings)
