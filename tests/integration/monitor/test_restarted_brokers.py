"""Groups are told of after a broker has been restarted, by clients that knew it before.

librdkafka 2.16 never finds a coordinator again that it has lost once: a client that has described a group times out
for ever after the broker's restart, while everything else is answered. It can also end its process then, so who asks
here lives in one of its own, as the monitor's scout does.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as RawPartition

from elsa.broker import EmbeddedKafka
from elsa.config import Settings
from elsa.kafka import probe
from elsa.monitor.look import Request
from elsa.monitor.scout import Scout
from elsa.testing.kafka import require_embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(180)]

GROUP = "it-billing"
ASK = """
import sys
from elsa.config import Settings
from elsa.groups import Groups

groups = Groups(Settings(name="it-restarts", brokers=sys.argv[1]))
for line in sys.stdin:
    try:
        told = groups.describe(line.strip()).state
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
    print(told.replace(chr(10), " "), flush=True)
"""


@pytest.fixture(scope="module")
def kafka() -> Iterator[EmbeddedKafka]:
    require_embedded()
    with EmbeddedKafka(ephemeral=True) as kafka:
        probe.create_topic(kafka.bootstrap, "it-orders", 1)
        consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": GROUP})
        consumer.commit(offsets=[RawPartition("it-orders", 0, 0)], asynchronous=False)
        consumer.close()
        yield kafka


def restart(kafka: EmbeddedKafka) -> None:
    kafka.kill_node(1)
    kafka.start_node(1)


def test_an_admin_client_finds_the_coordinator_again(kafka: EmbeddedKafka) -> None:
    command = [sys.executable, "-c", ASK, kafka.bootstrap]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdin is not None
        assert asking.stdout is not None

        def told() -> str:
            print(GROUP, file=asking.stdin, flush=True)
            assert asking.stdout is not None
            return asking.stdout.readline().strip()

        before = told()
        restart(kafka)
        after = [told(), told()]
        asking.stdin.close()

    assert (before, after) == ("empty", ["empty", "empty"])
    assert asking.returncode == 0


def test_the_monitor_sees_groups_at_its_first_look_again(kafka: EmbeddedKafka) -> None:
    with Scout(Settings(name="it-restarts", brokers=kafka.bootstrap)) as scout:
        request = Request(groups=(GROUP,))
        assert scout.look(request).failures == ()
        restart(kafka)
        look = scout.look(request)

    assert look.failures == ()
    assert [(group.name, group.state) for group in look.groups] == [(GROUP, "empty")]
