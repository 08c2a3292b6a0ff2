from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.stress.proxy import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets from one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(1024):
                    connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def test_what_is_sent_while_the_wire_is_cut_arrives_late(echo: int) -> None:
    with Wire() as wire, socket.create_connection(("127.0.0.1", wire.add("127.0.0.1", echo)), 10) as client:
        client.sendall(b"one")
        assert client.recv(1024) == b"one"

        wire.cut()
        client.sendall(b"two")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1024)

        wire.mend()
        client.settimeout(10)
        assert client.recv(1024) == b"two"


def test_the_end_of_a_connection_is_passed_on(echo: int) -> None:
    with Wire() as wire, socket.create_connection(("127.0.0.1", wire.add("127.0.0.1", echo)), 10) as client:
        client.shutdown(socket.SHUT_WR)

        assert client.recv(1024) == b""


def test_a_connection_to_nobody_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with Wire() as wire, socket.create_connection(("127.0.0.1", wire.add("127.0.0.1", port)), 10) as client:
        assert client.recv(1024) == b""
