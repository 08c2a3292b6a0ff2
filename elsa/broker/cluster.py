"""Starts and stops a real Apache Kafka of one or three nodes.

Called by `elsa broker`, `elsa demo`, `elsa dev` and the pytest fixtures.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from elsa.broker import diagnosis, manifest
from elsa.broker.folders import MINIMUM_FREE_BYTES, data_folder, lock, require_room
from elsa.broker.guard import ADMIN, BROKER, Guard
from elsa.broker.jars import classpath
from elsa.broker.java import find_java
from elsa.broker.node import Node, format_command, run_command, server_properties, write_configuration
from elsa.broker.ports import free_ports, require_free
from elsa.broker.processes import Keeper
from elsa.clock import SYSTEM
from elsa.errors import BrokerStartError, ConfigError, NotStarted, PortInUse
from elsa.kafka.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from elsa.broker.jars import Progress
    from elsa.broker.processes import Child

_HEAP_MEGABYTES = {1: 512, 3: 256}
_FORMAT_SECONDS = 60.0
#: an orderly stop may take this long, then the nodes are killed; Kafka recovers its logs at the next start
# Without a quorum the last nodes of three never stop in order.
_STOP_SECONDS = {1: 4.0, 3: 2.5}
_KILL_SECONDS = 10.0
_PROBE_SECONDS = 0.25
_WATCH_SECONDS = 0.25
_PORT_ATTEMPTS = 3


class EmbeddedKafka:
    """A real Apache Kafka in KRaft mode on 127.0.0.1, from pip packages alone.

    `nodes` is 1 or 3, `port` the first node's port (the others follow; None or 0: any free ones),
    `data_dir` where topics are kept (default: below the user's data folder), `ephemeral` throws them
    away at the end, `properties` are added to every node's server.properties, `on_progress(done, total,
    bytes)` reports the one-time fetch of the jars, `start_timeout` is in seconds. Nodes are numbered from 1,
    like Kafka's broker ids. A `secure` one speaks TLS and SASL/SCRAM and asks for ACLs: `client(user)` is what a user's
    clients need, admin may do everything, worker, producer and monitor what their roles need.

    Raises JavaMissing, JarsUnavailable, PortInUse, DataDirectoryError or BrokerStartError, all of them
    EmbeddedBrokerError. It stops with the program, even after `kill -9`. One thread at a time may call it.

        with EmbeddedKafka(ephemeral=True) as kafka:
            app = elsa.App("shop", brokers=kafka.bootstrap)

        with EmbeddedKafka(secure=True, ephemeral=True) as kafka:
            app = elsa.App("shop", brokers=kafka.bootstrap, kafka=kafka.client("worker"))
    """

    def __init__(
        self,
        nodes: int = 1,
        port: int | None = None,
        data_dir: str | Path | None = None,
        *,
        ephemeral: bool = False,
        secure: bool = False,
        on_progress: Progress | None = None,
        properties: Mapping[str, str] | None = None,
        start_timeout: float = 150.0,
    ) -> None:
        if nodes not in _HEAP_MEGABYTES:
            raise ConfigError(f"nodes must be 1 or 3, not {nodes!r}")
        if ephemeral and data_dir is not None:
            raise ConfigError("an ephemeral broker keeps nothing: give data_dir or ephemeral, not both")
        self._size = nodes
        self._port = port or None
        self._data_dir = None if data_dir is None else Path(data_dir).expanduser().absolute()
        self._is_ephemeral = ephemeral
        self._is_secure = secure
        self._guard: Guard | None = None
        self._on_progress = on_progress
        self._properties = dict(properties or {})
        self._start_timeout = start_timeout
        self._keeper: Keeper | None = None
        self._root: Path | None = None
        self._nodes: list[Node] = []
        self._children: dict[int, Child] = {}
        self._log_starts: dict[int, tuple[int, int]] = {}
        self._java = Path()
        self._jars: list[Path] = []

    # what it is

    @property
    def bootstrap(self) -> str:
        """The addresses for `brokers=`: "127.0.0.1:port[,127.0.0.1:port...]"."""
        self._require_started()
        return ",".join(node.address for node in self._nodes)

    @property
    def pids(self) -> list[int]:
        """The process ids of the nodes that run."""
        return [child.pid for child in self._children.values() if child.is_alive]

    @property
    def root(self) -> Path:
        """The folder that holds data and logs."""
        self._require_started()
        assert self._root is not None
        return self._root

    @property
    def log_paths(self) -> list[Path]:
        """The log file of each node."""
        self._require_started()
        return [node.log for node in self._nodes]

    # a secure one's users

    @property
    def guard(self) -> Guard:
        """Users, certificates and the files for clients; raises ConfigError when the broker is not a secure one."""
        self._require_started()
        if self._guard is None:
            raise ConfigError("this embedded broker has no users: it is not secure", hint="EmbeddedKafka(secure=True)")
        return self._guard

    def client(self, user: str = ADMIN, *, certificate: bool = False) -> dict[str, Any]:
        """The `kafka` setting for clients of this user; with a `certificate` they show one of their own as well.

        Raises ConfigError when there is none of that name.
        """
        return self.guard.kafka(user, certificate=certificate)

    def set_password(self, user: str, password: str) -> None:
        """Give a user another password, in the cluster and in the files; connections that are open stay."""
        self.guard.set_password(user, password, self.bootstrap)

    # its nodes

    def is_alive(self) -> bool:
        """Whether every node runs that was not stopped on purpose."""
        return bool(self._children) and all(child.is_alive for child in self._children.values())

    def check(self) -> None:
        """Raise what the logs tell when a node has ended by itself (a full disk, for instance)."""
        self._require_started()
        for number in list(self._children):
            self._check_node(self._node(number), "stopped")

    def wait(self, timeout: float | None = None) -> None:
        """Return after `timeout` seconds, never when None; raises as `check` when a node ends by itself meanwhile."""
        deadline = None if timeout is None else SYSTEM.monotonic() + timeout
        while deadline is None or SYSTEM.monotonic() < deadline:
            for child in list(self._children.values()):
                child.wait(_WATCH_SECONDS)
            self.check()

    # start and stop

    def start(self) -> Self:
        """Fetch what is missing, start every node and return when each of them answers; does nothing when started."""
        if self._keeper is not None:
            return self
        self._java = find_java()
        if self._port is not None:
            require_free(self._port, self._size)
        self._jars = classpath(self._on_progress)
        try:
            self._open_folder()
            if self._is_secure:
                assert self._root is not None
                self._guard = Guard(self._root, self._java)
                self._guard.prepare()
            self._start_cluster()
            if self._guard is not None:
                self._guard.register(self.bootstrap)
                self._guard.write_clients(self.bootstrap)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop every node, in order within seconds, else by force; an ephemeral folder is removed. Idempotent."""
        keeper = self._keeper
        if keeper is None:
            return
        if not self._is_ephemeral:
            self._end_all(signal.SIGTERM, _STOP_SECONDS[self._size])
        self._end_all(signal.SIGKILL, _KILL_SECONDS)
        keeper.close()
        self._keeper = None
        self._children.clear()
        self._nodes = []
        if self._is_ephemeral and self._root is not None:
            # The keeper did it, unless it was killed itself.
            shutil.rmtree(self._root, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # single nodes, for failure tests

    def stop_node(self, number: int) -> None:
        """Stop one node in order (SIGTERM), by force when it takes longer than 10 s."""
        self._end_node(number, signal.SIGTERM, 10.0)

    def kill_node(self, number: int) -> None:
        """Kill one node (SIGKILL)."""
        self._end_node(number, signal.SIGKILL, 10.0)

    def start_node(self, number: int) -> None:
        """Start a node that was stopped or killed, on its old port, and wait until it answers."""
        node = self._node(number)
        child = self._children.get(number)
        if child is not None and child.is_alive:
            return
        self._spawn(node)
        self._await_ready([node])

    def _end_node(self, number: int, how: signal.Signals, timeout: float) -> None:
        self._node(number)
        child = self._children.pop(number, None)
        if child is None:
            return
        child.signal(how)
        if not child.wait(timeout):
            child.signal(signal.SIGKILL)
            child.wait(timeout)

    def _end_all(self, how: signal.Signals, timeout: float) -> None:
        deadline = SYSTEM.monotonic() + timeout
        for child in self._children.values():
            child.signal(how)
        for child in self._children.values():
            child.wait(max(0.0, deadline - SYSTEM.monotonic()))

    # parts of start

    def _open_folder(self) -> None:
        if self._is_ephemeral:
            self._root = Path(tempfile.gettempdir()) / f"elsa-broker-{uuid.uuid4().hex}"
            require_room(self._root, MINIMUM_FREE_BYTES)
            # The keeper makes the folder that it will remove: no moment is left in which nobody would.
            self._keeper = Keeper(remove=self._root)
            self._root.mkdir(mode=0o700, exist_ok=True)
            return
        self._root = self._data_dir or data_folder(self._size)
        manifest.require_own(self._root)
        require_room(self._root, MINIMUM_FREE_BYTES)
        held = lock(self._root)
        try:
            # From here on the keeper holds the lock, until the last node has ended.
            self._keeper = Keeper(inherit=held.descriptor)
        finally:
            held.release()

    def _start_cluster(self) -> None:
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._assign_ports()
            try:
                self._format()
                for node in self._nodes:
                    self._spawn(node)
                self._await_ready(self._nodes)
            except PortInUse:
                # Somebody else took one of the free ports between our look and Kafka's.
                if self._port is not None or attempt == _PORT_ATTEMPTS:
                    raise
                self._end_all(signal.SIGKILL, _KILL_SECONDS)
                self._children.clear()
            else:
                return

    def _assign_ports(self) -> None:
        assert self._root is not None
        ports = free_ports(self._size) if self._port is None else require_free(self._port, self._size)
        controllers = free_ports(self._size, taken=frozenset(ports))
        self._nodes = [
            Node(number, self._root / f"node-{number}", port, controller)
            for number, (port, controller) in enumerate(zip(ports, controllers, strict=True), start=1)
        ]
        for node in self._nodes:
            write_configuration(node, server_properties(node, self._nodes, self._properties, self._guard))

    def _format(self) -> None:
        assert self._root is not None
        assert self._keeper is not None
        known = manifest.read_manifest(self._root, self._size)
        if known is not None and known.is_formatted:
            return
        fresh = known or manifest.new_manifest(self._size)
        fresh.write(self._root)
        if self._guard is not None:
            self._guard.forget()
        running = []
        for node in self._nodes:
            # What an interrupted format left would be refused.
            shutil.rmtree(node.data, ignore_errors=True)
            command = format_command(self._java, self._jars, node, fresh.cluster_id)
            running.append((node, self._keeper.spawn(f"format-{node.name}", command, node.console)))
        for node, child in running:
            if not child.wait(_FORMAT_SECONDS):
                raise BrokerStartError(f"formatting {node.data} took longer than {_FORMAT_SECONDS:g} s")
            if child.returncode != 0:
                raise diagnosis.explain(node, self._root, f"formatting {node.data} failed")
        manifest.Manifest(fresh.cluster_id, self._size, is_formatted=True).write(self._root)

    def _spawn(self, node: Node) -> None:
        self._require_started()
        assert self._keeper is not None
        command = run_command(self._java, self._jars, node, heap_megabytes=_HEAP_MEGABYTES[self._size])
        self._log_starts[node.number] = diagnosis.log_sizes(node)
        self._children[node.number] = self._keeper.spawn(node.name, command, node.console)

    def _await_ready(self, nodes: list[Node]) -> None:
        deadline = SYSTEM.monotonic() + self._start_timeout
        expected = len(self._children)
        for node in nodes:
            probe = Probe(node.address, self._guard.kafka(BROKER, certificate=True) if self._guard is not None else {})
            while not probe.answers(expected, _PROBE_SECONDS):
                for started in nodes:
                    self._check_node(started, "stopped while starting")
                if SYSTEM.monotonic() > deadline:
                    assert self._root is not None
                    what = f"{node.name} at {node.address} did not answer within {self._start_timeout:g} s"
                    raise diagnosis.explain(node, self._root, what, since=self._log_starts[node.number])

    def _check_node(self, node: Node, what: str) -> None:
        child = self._children[node.number]
        if not child.is_alive:
            assert self._root is not None
            code = child.returncode
            raise diagnosis.explain(
                node,
                self._root,
                f"{node.name} of the embedded broker {what} (exit code {code})",
                since=self._log_starts[node.number],
            )

    def _node(self, number: int) -> Node:
        self._require_started()
        if not 1 <= number <= self._size:
            raise ConfigError(f"there is no node {number}: they are numbered from 1 to {self._size}")
        return self._nodes[number - 1]

    def _require_started(self) -> None:
        if self._keeper is None:
            raise NotStarted("the embedded broker is not started")
