"""A Delivery's callback that sends on, to a topic that was never looked up.

It runs in the thread that polls the client. Asking for the topic's metadata from there ended the process as
soon as a second report followed in the same poll (confluent-kafka 2.16), so this looks at a process's end.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import elsa

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.broker

SCRIPT = """
import sys, threading
import elsa

brokers, first, second = sys.argv[1:]
app = elsa.App("send-in-callback", brokers=brokers)
done = threading.Semaphore(0)

def send_on(delivery):
    app.send(second, b"x").add_done_callback(lambda _: done.release())

for _ in range(5):
    app.send(first, b"x").add_done_callback(send_on)
for _ in range(5):
    assert done.acquire(timeout=20)
app.stop()
print("sent")
"""


def test_callbacks_may_send_to_topics_that_are_new_to_the_producer(brokers: str, topic: Callable[[], str]) -> None:
    first, second = topic(), topic()
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, brokers, first, second], capture_output=True, text=True, timeout=60
    )

    assert (found.returncode, found.stdout) == (0, "sent\n"), found.stderr
    reader = elsa.App("send-in-callback-reader", brokers=brokers)
    assert len(list(reader.stream(second))) == 5
    reader.stop()
