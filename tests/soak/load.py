"""The soak's sender: keeps a backlog in every topic until it is told to end, and sees that all is confirmed.

A program of its own, `python -m tests.soak.load BROKERS FOLDER`, ended by SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.streams import producer
from tests.soak.ledger import FAILED_SENDS, HANDLED, SENT, Ledger
from tests.soak.plan import LANES, PARTITIONS, key_of

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

    from tests.soak.plan import Lane

_CHUNK = 500
#: how often it is looked whether more is wanted
_PAUSE_SECONDS = 0.01


class Sender:
    """Sends to one topic."""

    def __init__(self, lane: Lane, folder: Path, client: Producer) -> None:
        self._lane = lane
        self._ledger = Ledger(folder, lane.topic, lane.keys)
        self._client = client
        self._number = 0

    def fill_up(self) -> int:
        """Send what is wanting in the backlog, a chunk at most; how many messages."""
        lane, ledger = self._lane, self._ledger
        count = max(0, min(_CHUNK, lane.backlog - (self._number - ledger.facts[HANDLED])))
        for number in range(self._number, self._number + count):
            key = key_of(number, lane.keys)
            body = b'{"key":%d,"place":%d,"number":%d}' % (key, ledger.sent[key], number)
            self._client.produce(lane.topic, body, b"%d" % key, key % PARTITIONS, on_delivery=self._delivered)
            ledger.sent[key] += 1
        self._number += count
        ledger.facts[SENT] = self._number
        return count

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._ledger.note(FAILED_SENDS)


def main(brokers: str, folder: Path) -> int:
    """Send until SIGTERM; 0 when everything was confirmed."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    # idempotent: a retry must not change the order that is checked
    client = producer(brokers, {"enable.idempotence": "true", "linger.ms": 20})
    senders = [Sender(lane, folder, client) for lane in LANES]
    while not ended.is_set():
        sent = sum(sender.fill_up() for sender in senders)
        client.poll(0)
        if sent < _CHUNK:
            ended.wait(_PAUSE_SECONDS)
    return 1 if client.flush(60) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
