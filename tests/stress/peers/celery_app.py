"""Celery on Kafka: the handler, and the sender of the numbered stream.

Settings as its documentation recommends for tasks that must not be lost. Runs in a virtual environment without Elsa.
"""

from __future__ import annotations

import os

from celery import Celery

from tests.stress.peers.common import note, numbers, told

app = Celery("stress", broker=f"confluentkafka://{os.environ['PEER_BROKERS']}")
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_concurrency=4,
    worker_enable_remote_control=False,
    task_default_queue=os.environ["PEER_TOPIC"],
    broker_transport_options={
        "num_partitions": 6,
        "wait_time_seconds": 1,
        # with the default of 1 s it does not keep up
        "polling_interval": 0.02,
        # as the others have it, not librdkafka's 45 s
        "kafka_consumer_config": {"session.timeout.ms": 10_000},
    },
)


@app.task  # type: ignore[untyped-decorator]  # not installed where types are checked
def handle(number: int) -> None:
    note(number)


def send() -> None:
    """Send the stream."""
    for number in numbers():
        handle.delay(number)
        told(number)
