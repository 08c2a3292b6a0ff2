"""`elsa broker --secure` by its command: what it tells is enough for every command, it is kept, secrets stay put."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from elsa import exits
from elsa.broker import EmbeddedKafka
from elsa.config import Settings
from elsa.errors import AuthorizationFailed, ConfigError
from elsa.producer import Producer
from elsa.testing.kafka import require_embedded
from elsa.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(240)]


@contextlib.contextmanager
def secure_broker(data: Path) -> Iterator[dict[str, Any]]:
    """What the command says of itself, while it runs."""
    command = [sys.executable, "-m", "elsa", "broker", "--secure", "--json", "--port", "0", "--data-dir", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            line = running.stdout.readline()
            assert line, running.stderr.read() if running.stderr is not None else ""
            yield json.loads(line)
        finally:
            running.send_signal(signal.SIGINT)
            assert running.wait(30) == exits.OK


def elsa(env_file: str, *command: str) -> subprocess.CompletedProcess[str]:
    """A command as a shell runs it that has read the file."""
    script = f'set -a; . "{env_file}"; set +a; exec "$0" -m elsa "$@"'
    return subprocess.run(["sh", "-c", script, sys.executable, *command], capture_output=True, text=True, timeout=60)


def command_lines(pids: list[int]) -> str:
    """Of the brokers and of whatever runs them."""
    return "\n".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)


def test_it_serves_its_users_is_kept_and_shows_no_secret(tmp_path: Path) -> None:
    require_embedded()
    data = tmp_path / "kafka data"
    with secure_broker(data) as told:
        users = told["users"]
        folder = data / "security"
        secrets = {path.read_text() for path in folder.glob("*.password")}
        made = elsa(users["admin"], "topics", "create", "orders")
        sent = elsa(users["producer"], "produce", "orders", "hello")
        fetched = elsa(users["worker"], "fetch", "orders")
        listed = elsa(users["monitor"], "topics", "list")
        lag = elsa(users["monitor"], "lag", "--json")
        refused = elsa(users["producer"], "fetch", "orders")
        shown = elsa(users["worker"], "config", "--json")
        if sys.platform == "linux":
            assert not [secret for secret in secrets if secret in command_lines(told["pids"])]

    assert {"admin", "worker", "producer", "monitor"} == users.keys()
    for done in (made, sent, fetched, listed, lag, shown):
        assert done.returncode == exits.OK, done.stderr
    assert "hello" in fetched.stdout
    assert "orders" in listed.stdout
    assert refused.returncode == exits.BROKER
    assert "this client needs Read on topic 'orders'" in refused.stderr
    assert {"name": "kafka.sasl.password", "value": "***"}.items() <= next(
        row for row in json.loads(shown.stdout) if row["name"] == "kafka.sasl.password"
    ).items()
    written = "".join(path.read_text() for path in [*data.glob("node-*/*.log"), *folder.glob("*.env")])
    seen = "".join(done.stdout + done.stderr for done in (made, sent, fetched, listed, lag, refused, shown))
    assert len(secrets) == 5
    assert not [secret for secret in secrets if secret in written + seen + json.dumps(told)]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in data.glob("node-*/server.properties"))

    with secure_broker(data) as again:
        kept = elsa(again["users"]["worker"], "fetch", "orders")

    assert "hello" in kept.stdout, kept.stderr
    assert {path.read_text() for path in folder.glob("*.password")} == secrets


def test_it_tells_people_what_to_type(tmp_path: Path) -> None:
    require_embedded()
    command = [sys.executable, "-m", "elsa", "broker", "--secure", "--ephemeral", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        said = ""
        for line in running.stdout:
            said += line
            if "ctrl-C" in line:
                break
        running.send_signal(signal.SIGINT)
        found = re.search(r"^    (set -a; \. (\S+)/security/admin\.env; set \+a)$", said, re.MULTILINE)

        assert found, said
        assert running.wait(30) == exits.OK
    assert "those of admin, worker, producer, monitor" in said
    assert not Path(found[2]).exists()


def test_three_nodes_are_secure_among_themselves(tmp_path: Path) -> None:
    require_embedded()
    with EmbeddedKafka(nodes=3, ephemeral=True, secure=True) as kafka:
        admin = Settings(name="it-three", brokers=kafka.bootstrap, kafka=kafka.client())
        Topics(admin).create("orders", partitions=3, replicas=3)
        producer = Producer(Settings(name="it-three", brokers=kafka.bootstrap, kafka=kafka.client("producer")))
        try:
            assert [producer.send("orders", b"v", partition=n).result(30).offset for n in range(3)] == [0, 0, 0]
        finally:
            producer.close(1)
        for number in (1, 2, 3):
            written = (kafka.root / f"node-{number}" / "server.properties").read_text()
            assert "PLAINTEXT" not in written
        with pytest.raises(AuthorizationFailed):
            Topics(Settings(name="it-three", brokers=kafka.bootstrap, kafka=kafka.client("producer"))).delete("orders")
        with pytest.raises(ConfigError, match="the embedded broker has no user 'ann'"):
            kafka.client("ann")
