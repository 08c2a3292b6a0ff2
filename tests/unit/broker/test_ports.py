from __future__ import annotations

import socket

import pytest

from elsa.broker.ports import LOOPBACK, free_ports, is_free, require_free
from elsa.errors import PortInUse


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]

        assert not is_free(port)

    assert is_free(port)


def test_a_taken_port_is_named_with_the_way_out() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]

        with pytest.raises(PortInUse, match=f"port {port} of 127.0.0.1 is taken\n  hint: .*--port 0"):
            require_free(port, 1)


def test_every_port_of_a_cluster_must_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    # made up: no other program may have one of the three meanwhile
    monkeypatch.setattr("elsa.broker.ports.is_free", lambda port: port != 20_001)

    with pytest.raises(PortInUse, match="port 20001 "):
        require_free(20_000, 3)


@pytest.mark.parametrize("port", [-1, 65_535])
def test_numbers_that_are_no_ports_are_refused(port: int) -> None:
    with pytest.raises(PortInUse, match="is no port"):
        require_free(port, 2)


def test_chosen_ports_differ_and_are_outside_the_range_of_outgoing_connections() -> None:
    first = free_ports(5)
    second = free_ports(5, taken=frozenset(first))

    assert len(set(first) | set(second)) == 10
    assert all(20_000 <= port < 32_000 for port in first + second)
