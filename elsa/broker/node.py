"""What one node of the embedded cluster is: its folder, ports, server.properties and command lines.

Called by the cluster.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from elsa.broker.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from elsa.broker.guard import Guard

_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true")


@dataclass(frozen=True, slots=True)
class Node:
    """One node: `number` counts from 1."""

    number: int
    folder: Path
    port: int
    controller_port: int

    @property
    def name(self) -> str:
        """How the node is called in folders and messages."""
        return f"node-{self.number}"

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def log(self) -> Path:
        """The broker's own log."""
        return self.folder / "broker.log"

    @property
    def console(self) -> Path:
        """What the Java process writes to its console."""
        return self.folder / "console.log"

    @property
    def configuration(self) -> Path:
        """Its server.properties."""
        return self.folder / "server.properties"

    @property
    def data(self) -> Path:
        """Kafka's own folder."""
        return self.folder / "data"

    @property
    def is_formatted(self) -> bool:
        """Whether Kafka has formatted its folder."""
        return (self.data / "meta.properties").exists()


def server_properties(
    node: Node, nodes: Sequence[Node], overrides: Mapping[str, str], guard: Guard | None = None
) -> dict[str, str]:
    """The settings of one node among its cluster; with a guard it is a secure one, `overrides` win."""
    clients = "PLAINTEXT" if guard is None else "SASL_SSL"
    replicas = str(len(nodes))
    in_sync = str(min(2, len(nodes)))
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(node.number),
        "controller.quorum.voters": ",".join(f"{n.number}@{LOOPBACK}:{n.controller_port}" for n in nodes),
        "listeners": f"{clients}://{node.address},CONTROLLER://{LOOPBACK}:{node.controller_port}",
        "advertised.listeners": f"{clients}://{node.address}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": clients,
        "log.dirs": str(node.data),
        "auto.create.topics.enable": "false",
        "num.partitions": "1",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": "4",
        "group.initial.rebalance.delay.ms": "0",
        # A killed mover's open transaction hides later messages until it is aborted.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        # A small heap has no room for the default of 128 MB.
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        "log.cleaner.backoff.ms": "1000",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
    }
    # A killed node cannot register again before its session has ended, and its partitions move then: not after 9 s.
    settings |= {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
    if guard is not None:
        settings |= guard.properties(clients)
    return settings | dict(overrides)


def write_configuration(node: Node, settings: Mapping[str, str]) -> None:
    """Write the node's server.properties and its logging configuration."""
    node.folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{_escaped(key, is_key=True)}={_escaped(value)}" for key, value in settings.items()]
    # it may hold passwords, those of a secure cluster or the user's
    node.configuration.unlink(missing_ok=True)
    descriptor = os.open(node.configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
    shipped = resources.files("elsa.broker").joinpath("log4j2.properties").read_text()
    (node.folder / "log4j2.properties").write_text(shipped)


def _escaped(text: str, *, is_key: bool = False) -> str:
    """A key or value as Java's properties format wants it (paths may hold blanks, `=` and non-ASCII letters)."""
    out = text.replace("\\", "\\\\").replace("\n", "\\n")
    if is_key:
        out = out.replace(" ", "\\ ").replace("=", "\\=").replace(":", "\\:")
    elif out.startswith(" "):
        out = "\\" + out
    units = out.encode("utf-16-be")
    pairs = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(chr(unit) if unit < 128 else f"\\u{unit:04x}" for unit in pairs)


def format_command(java: Path, classpath: Sequence[Path], node: Node, cluster_id: str) -> list[str]:
    """What formats the node's folder, once."""
    return [
        *_java(java, classpath, node, "-Xmx128m"),
        "kafka.tools.StorageTool",
        *("format", "--cluster-id", cluster_id, "--config", str(node.configuration)),
    ]


def run_command(java: Path, classpath: Sequence[Path], node: Node, *, heap_megabytes: int) -> list[str]:
    """What runs the node."""
    return [*_java(java, classpath, node, f"-Xmx{heap_megabytes}m"), "kafka.Kafka", str(node.configuration)]


def _java(java: Path, classpath: Sequence[Path], node: Node, heap: str) -> list[str]:
    return [
        str(java),
        heap,
        *_JVM,
        f"-Dlog4j2.configurationFile={(node.folder / 'log4j2.properties').as_uri()}",
        f"-Delsa.broker.log={node.log}",
        *("-cp", ":".join(str(path) for path in classpath)),
    ]
