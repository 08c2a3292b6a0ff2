"""A disk that fills up stops the broker; the error names the disk, not a stack trace of Kafka's."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from elsa.broker import EmbeddedKafka, folders
from elsa.errors import DataDirectoryError
from elsa.kafka import probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 230 MB of its own; needs Linux and the right to mount."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=230m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mount is not permitted: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_fills_up_is_named(small_disk: Path) -> None:
    with EmbeddedKafka(data_dir=small_disk / "data") as kafka:
        probe.create_topic(kafka.bootstrap, "filler", 1)
        (small_disk / "ballast").write_bytes(bytes(folders.free_bytes(small_disk) - 8_000_000))
        producer = Producer(
            {"bootstrap.servers": kafka.bootstrap, "message.timeout.ms": 5000, "log_level": 0, "acks": 1}
        )
        for _ in range(20):
            producer.produce("filler", os.urandom(900_000))
        producer.flush(20)

        with pytest.raises(DataDirectoryError, match=f"stopped (.|\\n)*the disk of {small_disk / 'data'} is full"):
            kafka.wait(60)


def test_a_disk_without_room_is_named_before_the_start(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(100_000_000))

    with pytest.raises(DataDirectoryError, match="MB are free, 200 MB are needed"):
        EmbeddedKafka(data_dir=small_disk / "data").start()
