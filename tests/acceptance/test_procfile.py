"""The Procfile, run by a Procfile runner (honcho): all workers come up on a real Kafka, work, and stop in order."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from elsa.app import App
from elsa.broker import EmbeddedKafka
from elsa.testing.kafka import require_embedded, unique_name

from .driver import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
NAMES = sorted(line.split(":")[0] for line in (ROOT / "Procfile").read_text().splitlines())

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def own_kafka() -> Iterator[str]:
    """A Kafka of its own: the applications' topics have fixed names."""
    require_embedded()
    with EmbeddedKafka(ephemeral=True) as kafka:
        yield kafka.bootstrap


def members(mark: str) -> list[int]:
    """The processes that run with this in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def test_a_procfile_runner_starts_all_workers_and_stops_them_in_order(own_kafka: str, tmp_path: Path) -> None:
    mark = f"PROCFILE_MARK={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    own = {key: text for key, text in os.environ.items() if not key.startswith("ELSA_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{own.get('PATH', '')}"
    env = own | {"ELSA_BROKERS": own_kafka, "ELSA_RUNTIME_DIR": str(tmp_path), "PATH": path, name: value}
    log = tmp_path / "honcho.log"
    client = App(unique_name("procfile"), brokers=own_kafka)
    client.topics.create("orders", partitions=2)
    with log.open("w") as output:
        # no colours: each line begins with the time and the name
        command = [sys.executable, "-m", "honcho", "start", "--no-colour", "-f", str(ROOT / "Procfile")]
        runner = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until(lambda: log.read_text().count("worker process is ready") == len(NAMES), "every worker is ready")
        client.produce("orders", [("ann", json.dumps({"id": 1, "customer": "ann", "amount": 80.0}))])
        until(lambda: "invoices" in client.topics.list() and list(client.stream("invoices")), "an invoice is made")

        runner.send_signal(signal.SIGTERM)
        runner.wait(PATIENCE)
        # the runner, too, sees the codes of the workers: `exec` leaves no shell between
        told = re.findall(r"system +\| (\w+)\.1 stopped \(rc=(-?\d+)\)", log.read_text())
        assert sorted(told) == [(name, "0") for name in NAMES]
        ends = re.findall(r"(\w+)\.1 .* worker process ended \(.* code=0 .* reason=stopped\)", log.read_text())
        assert sorted(ends) == NAMES
        assert "SIGKILL" not in log.read_text()
        assert members(mark) == []
    finally:
        print(log.read_text()[-8000:])
        for pid in members(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        runner.wait(PATIENCE)
        client.stop(5)
