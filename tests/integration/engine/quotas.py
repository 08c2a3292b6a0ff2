"""Sets quotas of a client id: Kafka's AlterClientQuotas request (key 49), which the client library does not have."""

from __future__ import annotations

import socket
import struct

_ALTER_CLIENT_QUOTAS = 49


def set_quota(brokers: str, client_id: str, quota: str, bytes_per_second: float | None) -> None:
    """Set `quota` (producer_byte_rate, consumer_byte_rate) of a client id, None takes it away."""
    entity = struct.pack(">i", 1) + _text("client-id") + _text(client_id)
    change = struct.pack(">i", 1) + _text(quota)
    change += struct.pack(">d?", bytes_per_second or 0.0, bytes_per_second is None)
    body = struct.pack(">i", 1) + entity + change + struct.pack(">?", False)
    request = struct.pack(">hhi", _ALTER_CLIENT_QUOTAS, 0, 1) + _text("it-quotas") + body
    host, port = brokers.split(",", maxsplit=1)[0].rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as connection, connection.makefile("rb") as answer:
        connection.sendall(struct.pack(">i", len(request)) + request)
        size = struct.unpack(">i", answer.read(4))[0]
        # correlation, throttle time, number of entries, then the first entry's error
        error = struct.unpack_from(">iiih", answer.read(size))[3]
    assert error == 0, f"the broker refused the quota: error {error}"


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()
