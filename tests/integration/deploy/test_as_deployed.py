"""The services of compose, run as processes with the commands and variables that their containers have.

Only addresses and folders differ: a Kafka of the test's own, loopback, free ports. So the topics are made by the
topics job, a worker and the monitor come up, are asked as the image's healthcheck asks, and end in order.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.broker import EmbeddedKafka
from elsa.broker.ports import free_ports
from elsa.testing.kafka import require_embedded
from tests.integration.deploy.artefacts import DEPLOY, PORT, ROOT, Container, containers, read
from tests.integration.deploy.test_image import last
from tests.integration.engine.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.broker

SERVICES = {one.where: one for one in containers() if one.where.startswith("compose ")}
#: asks before it gives up, far above what a start takes
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[str]:
    """A Kafka of its own: the application's topics have fixed names."""
    require_embedded()
    with EmbeddedKafka(ephemeral=True) as kafka:
        yield kafka.bootstrap


def environment(container: Container, kafka: str, port: int, folder: Path) -> dict[str, str]:
    """The container's variables, with the addresses and the folder of this machine."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ELSA_", "OTEL_"))}
    changed = {
        "ELSA_BROKERS": kafka,
        "ELSA_HTTP_HOST": "127.0.0.1",
        "ELSA_METRICS_PORT": str(port),
        "ELSA_RUNTIME_DIR": str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{own.get('PATH', '')}",
    }
    return own | container.env | changed


@contextmanager
def running(container: Container, env: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The container's process in the folder that its code is mounted in; killed when the test did not end it."""
    args = [
        "127.0.0.1" if word == "0.0.0.0" else word.replace(str(PORT), env["ELSA_METRICS_PORT"])
        for word in container.args
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["elsa", *args], cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def is_healthy(env: dict[str, str], probe: str = "--live") -> bool:
    """What the image's HEALTHCHECK comes to, or the same of another probe."""
    *command, own = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])
    assert own == "--live"
    return subprocess.run([*command, probe], cwd=ROOT, env=env, capture_output=True, timeout=30).returncode == 0


def ended(process: subprocess.Popen[bytes], grace: int) -> int:
    """The exit code after a TERM, within the time that the container is given."""
    process.send_signal(signal.SIGTERM)
    return process.wait(grace)


def test_a_worker_of_compose_comes_up_is_healthy_and_stops_in_time(own_kafka: str, tmp_path: Path) -> None:
    worker = SERVICES["compose worker-1"]
    env = environment(worker, own_kafka, free_ports(1)[0], tmp_path)
    job = read(DEPLOY / "compose.yaml")["services"]["topics"]
    script = job["command"][0].replace("$$", "$")
    subprocess.run([*job["entrypoint"], script], env=env, check=True, capture_output=True, timeout=120)

    assert not is_healthy(env)
    with running(worker, env, tmp_path) as process:
        until(lambda: is_healthy(env), "it is live", PATIENCE_SECONDS)
        until(lambda: is_healthy(env, "--ready"), "it is ready", PATIENCE_SECONDS)
        assert worker.grace is not None
        assert ended(process, worker.grace) == exits.OK, (tmp_path / "log").read_text()


def test_the_monitor_of_compose_comes_up_is_healthy_and_stops(own_kafka: str, tmp_path: Path) -> None:
    monitor = SERVICES["compose monitor"]
    env = environment(monitor, own_kafka, free_ports(1)[0], tmp_path)

    with running(monitor, env, tmp_path) as process:
        until(lambda: is_healthy(env), "it is live", PATIENCE_SECONDS)
        page = f"http://127.0.0.1:{env['ELSA_METRICS_PORT']}/metrics"
        # once the first look is over
        until(lambda: is_healthy(env, "--ready"), "it is ready", PATIENCE_SECONDS)
        with urllib.request.urlopen(page, timeout=10) as answer:
            assert b"elsa_" in answer.read()
        assert ended(process, 10) == exits.OK, (tmp_path / "log").read_text()
