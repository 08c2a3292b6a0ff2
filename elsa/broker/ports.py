"""Chooses and checks TCP ports of the loopback interface; called by the cluster before it starts."""

from __future__ import annotations

import errno
import random
import socket

from elsa.errors import PortInUse

LOOPBACK = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections: a node that is stopped for
# a while must find its port free again.
_LOWEST, _HIGHEST = 20_000, 32_000
_MAXIMUM = 65_535


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As Java does: connections of an earlier run that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def free_ports(count: int, *, taken: frozenset[int] = frozenset()) -> list[int]:
    """That many different free ports, none of `taken`; another process may take one before it is used."""
    chosen: list[int] = []
    source = random.SystemRandom()
    for _ in range(10_000):
        if len(chosen) == count:
            return chosen
        port = source.randrange(_LOWEST, _HIGHEST)
        if port not in taken and port not in chosen and is_free(port):
            chosen.append(port)
    raise PortInUse(f"no {count} free ports were found between {_LOWEST} and {_HIGHEST}")


def require_free(first: int, count: int) -> list[int]:
    """The ports `first`, `first + 1`, ...; raises PortInUse naming the first one that is taken."""
    wanted = list(range(first, first + count))
    for port in wanted:
        if not 0 < port <= _MAXIMUM:
            raise PortInUse(f"{port} is no port (1 to {_MAXIMUM})")
        if not is_free(port):
            raise PortInUse(
                f"port {port} of {LOOPBACK} is taken",
                hint="is a broker running already? Use it with ELSA_BROKERS, or choose another port "
                "(--port 0 takes any free one)",
            )
    return wanted
