"""A password that is changed in the cluster and in its file is taken over, without a restart and without loss.

The change has an unlucky order on purpose: the broker refuses the old password before the file has the new one. Kafka
keeps connections that are open, so the tests break them by a restart of the broker's node.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.config import Settings, load
from elsa.producer import Producer
from elsa.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from elsa.broker import EmbeddedKafka

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(240)]

PATIENCE = 60.0


@pytest.fixture
def kafka(elsa_secure_kafka: EmbeddedKafka) -> EmbeddedKafka:
    """The plugin's, which nobody else uses here: its node is restarted."""
    return elsa_secure_kafka


@pytest.fixture
def environment(kafka: EmbeddedKafka, tmp_path: Path) -> dict[str, str]:
    """What the worker's env file says, with the password in a file of the test."""
    found = kafka.guard.environment("worker", kafka.bootstrap)
    password = tmp_path / "password"
    password.write_text(kafka.client("worker")["sasl.password"])
    return found | {"ELSA_KAFKA__SASL__PASSWORD_FILE": str(password), "ELSA_RUNTIME_DIR": str(tmp_path)}


def change(kafka: EmbeddedKafka, password: Path, refused: Callable[[], object]) -> None:
    """Another password in the cluster, then every connection breaks and is `refused`, then the file has it too."""
    word = secrets.token_urlsafe(12)
    kafka.set_password("worker", word)
    kafka.stop_node(1)
    kafka.start_node(1)
    refused()
    password.write_text(word)


def test_a_worker_and_its_producer_go_on_with_the_new_password(
    kafka: EmbeddedKafka, environment: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"it-{uuid.uuid4().hex[:10]}"
    admin = Settings(name=name, brokers=kafka.bootstrap, kafka=kafka.client())
    Topics(admin).create(name)
    settings = load({"name": name}, env=environment, cwd=tmp_path).settings
    app = elsa.App(name, brokers=settings.brokers, kafka=settings.kafka, runtime_dir=str(tmp_path))
    seen: list[int] = []
    changed = threading.Condition()

    @app.handler(name, group=name)
    def handle(body: int) -> None:
        with changed:
            seen.append(body)
            changed.notify_all()

    def has(count: int) -> bool:
        with changed:
            return changed.wait_for(lambda: len(set(seen)) == count, PATIENCE)

    def is_refused() -> None:
        pause = threading.Event()
        for _ in range(int(PATIENCE * 10)):
            if "refused the credentials of user 'worker'" in caplog.text:
                return
            pause.wait(0.1)
        raise AssertionError("nothing was refused")

    app.start()
    try:
        app.send(name, 1).result(20)

        assert has(1)
        change(kafka, tmp_path / "password", is_refused)
        # it waits in the buffer until the producer is let in again
        delivery = app.send(name, 2)

        assert delivery.result(PATIENCE).offset == 1
        assert has(2)
        runtime: Any = app._runtime
        assert runtime.failure is None
    finally:
        app.stop(10)
    assert app.groups.committed(name)[elsa.TopicPartition(name, 0)] == 2


def test_hup_makes_worker_processes_with_the_new_password(
    kafka: EmbeddedKafka, environment: dict[str, str], tmp_path: Path
) -> None:
    name = f"it-{uuid.uuid4().hex[:10]}"
    admin = Settings(name=name, brokers=kafka.bootstrap, kafka=kafka.client())
    Topics(admin).create(name)
    (tmp_path / "shop.py").write_text(
        f"import os, elsa\napp = elsa.App({name!r})\n"
        f"@app.handler({name!r}, group={name!r})\n"
        "def handle(body: int) -> None:\n    print('HANDLED', body, os.getpid(), flush=True)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-m", "elsa", "worker", "shop:app", "--processes", "1"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    producer = Producer(admin)
    lines: list[str] = []
    heard = threading.Condition()

    def read() -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            with heard:
                lines.append(line)
                heard.notify_all()

    def handled(body: int) -> str:
        def found() -> str:
            return next((line.split()[2] for line in lines if line.startswith(f"HANDLED {body} ")), "")

        with heard:
            assert heard.wait_for(found, PATIENCE), "".join(lines)
            return found()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        producer.send(name, b"1").result(20)
        first = handled(1)
        word = secrets.token_urlsafe(12)
        kafka.set_password("worker", word)
        (tmp_path / "password").write_text(word + "\n")
        worker.send_signal(signal.SIGHUP)
        with heard:
            assert heard.wait_for(lambda: sum("ready" in line for line in lines) >= 2, PATIENCE), "".join(lines)
        producer.send(name, b"2").result(20)

        assert handled(2) != first
    finally:
        worker.terminate()
        worker.wait(40)
        producer.close(1)
        reader.join(5)
        assert worker.stdout is not None
        worker.stdout.close()
    assert worker.returncode == 0
    assert word not in "".join(lines)
