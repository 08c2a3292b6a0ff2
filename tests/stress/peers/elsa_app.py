"""Elsa under the conditions of its peers: the handler, and the sender of the numbered stream."""

from __future__ import annotations

import os

import elsa
from tests.stress.peers.common import note, numbers, told

app = elsa.App("stress-peer", brokers=os.environ["PEER_BROKERS"])


@app.task(topic=os.environ["PEER_TOPIC"])
def handle(number: int) -> None:
    note(number)


def send() -> None:
    """Send the stream."""
    for number in numbers():
        handle.send(number).result(60)
        told(number)
    app.stop()
