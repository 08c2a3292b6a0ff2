"""A script's last sends are not lost at exit, and a forked child sends through a client of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from elsa.fetcher import Fetcher

pytestmark = pytest.mark.broker

START = """
    import os
    from elsa.config import Settings
    from elsa.producer import Producer
    producer = Producer(Settings(name="script", brokers={brokers!r}, send_linger=0.5))
"""


def run(script: str, **names: str) -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(START + script).format(**names)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def values(fetcher: Fetcher, topic: str) -> list[bytes | None]:
    return [message.value for message in fetcher.fetch(topic, timeout=5).messages]


def test_the_last_sends_of_a_script_arrive(brokers: str, fetcher: Fetcher, topic: Any) -> None:
    name = topic()
    done = run(
        """
    for number in range(100):
        producer.send({topic!r}, str(number))
        """,
        brokers=brokers,
        topic=name,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert len(values(fetcher, name)) == 100


def test_what_could_not_be_sent_at_exit_is_counted(brokers: str) -> None:
    done = run(
        """
    import elsa.producer
    elsa.producer.EXIT_SECONDS = elsa.partitions.METADATA_SECONDS = 0.2
    producer.send("orders", b"v")
        """,
        brokers="127.0.0.1:1",
    )

    assert done.returncode == 0
    assert "1 messages were not confirmed by Kafka within" in done.stderr


def test_a_forked_child_sends_and_so_does_its_parent(brokers: str, fetcher: Fetcher, topic: Any) -> None:
    name = topic()
    done = run(
        """
    producer.send({topic!r}, b"before").result(10)
    if os.fork() == 0:
        producer.send({topic!r}, b"child").result(10)
        producer.close()
        os._exit(0)
    os.wait()
    producer.send({topic!r}, b"parent").result(10)
        """,
        brokers=brokers,
        topic=name,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert values(fetcher, name) == [b"before", b"child", b"parent"]
