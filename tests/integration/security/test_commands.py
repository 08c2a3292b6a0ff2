"""Every operator's command against a secure Kafka: with the least rights of its role it works, else it says why not.

Each is a process of its own, as a shell starts it. Those that fail wait for the same seconds, so they run side by side.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as RawPartition

from elsa import acls, exits, names
from elsa.config import Settings
from elsa.producer import Producer
from elsa.topics import Topics

from .secure import command, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .secure import Secure

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class World:
    """A topic with a message, a group that has read none of it, a dead letter, and the topic of commands."""

    name: str
    topic: str
    group: str
    dead: str

    def filled(self, line: str) -> list[str]:
        """The words of a command; `{topic}` and the like stand for what there is."""
        return line.format(name=self.name, topic=self.topic, group=self.group, dead=self.dead).split()


@pytest.fixture
def world(secure: Secure) -> World:
    name = f"it-{uuid.uuid4().hex[:10]}"
    topic, group = f"{name}-orders", f"{name}-billing"
    found = World(name, topic, group, names.dead_letter_topic(topic, group, name))
    admin = Settings(name=name, brokers=secure.bootstrap, kafka=secure.broker.client())
    for each in (found.topic, found.dead, names.control_topic(name)):
        Topics(admin).create(each, partitions=1)
    headers = {"elsa-origin": f"{topic}:0:0", "elsa-handler": "bill", "elsa-reason": "exhausted"}
    producer = Producer(admin)
    for _ in range(2):
        producer.send(topic, b"v").result(30)
        producer.send(found.dead, b"v", headers=headers).result(30)
    producer.close(5)
    consumer = Consumer({**secure.broker.client(), "bootstrap.servers": secure.bootstrap, "group.id": group})
    consumer.commit(offsets=[RawPartition(topic, 0, 0)], asynchronous=False)
    consumer.close()
    return found


def role(secure: Secure, world: World, name: str) -> Settings:
    return Settings(name=world.name, brokers=secure.bootstrap, kafka=secure.user(acls.ROLES[name]))


# -- with the rights of a role ---------------------------------------------------------------------------

#: in the order of what they do to the world
WORK = {
    "monitor": (
        "lag --json",
        "lag {group}",
        "lag {group} --check --max-messages 100 --max-age 1h",
        "top {group} --once --json --interval 200ms",
        "topics list",
        "groups list",
        "groups describe {group}",
        "groups lag {group}",
    ),
    "operator": (
        "topics create {name}-made --partitions 1",
        "topics describe {name}-made",
        "topics alter {name}-made retention.ms=86400000",
        "topics add-partitions {name}-made 2",
        "topics delete {name}-made --yes",
        "dlq list",
        "dlq list {dead}",
        "dlq show {dead} 0:0",
        "dlq drop {dead} --offset 0:0 --yes",
        "dlq replay {dead}",
        "groups reset {group} --to latest --yes",
        "groups delete {group} --yes",
    ),
}


@pytest.mark.parametrize("name", WORK)
def test_the_rights_of_its_role_are_enough(secure: Secure, world: World, name: str) -> None:
    settings = role(secure, world, name)
    failed = {}
    for line in WORK[name]:
        done = command(settings, *world.filled(line))
        if done.returncode != exits.OK or "ACL" in done.stderr or "Traceback" in done.stderr:
            failed[line] = (done.returncode, done.stderr)

    assert failed == {}


def test_what_a_monitor_sees_is_true(secure: Secure, world: World) -> None:
    settings = role(secure, world, "monitor")
    lag = command(settings, *world.filled("lag {group}"))
    over = command(settings, *world.filled("lag {group} --check --max-messages 1"))
    listed = command(settings, "topics", "list", "--internal")

    assert f"{world.group}: 2 messages behind" in lag.stdout + lag.stderr
    assert over.returncode == exits.OVER_LIMIT
    assert world.dead in listed.stdout


def test_an_operator_asks_and_steers_a_worker_that_has_the_rights_of_one(secure: Secure, tmp_path: Path) -> None:
    name = f"it-{uuid.uuid4().hex[:10]}"
    working = Settings(name=name, brokers=secure.bootstrap, kafka=secure.broker.client("worker"))
    steering = Settings(name=name, brokers=secure.bootstrap, kafka=secure.user(acls.ROLES["operator"]))
    (tmp_path / "steered.py").write_text(
        f"import elsa\napp = elsa.App({name!r}, default_partitions=1)\n"
        f"@app.handler('{name}-orders')\ndef handle(body: bytes) -> None: ...\n"
    )
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "elsa", "worker", "steered:app", "--processes", "1"],
            env={**environment(working), "ELSA_RUNTIME_DIR": str(tmp_path)},
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
    try:
        _until(lambda: "ready" in command(steering, "inspect", "ping").stdout, worker, tmp_path / "worker.log")
        lines = (
            *("inspect active", "inspect assignments", "inspect config"),
            *("control pause --all", "control resume --all", "control stacks", "control loglevel info"),
        )
        done = {line: command(steering, *line.split(), "--timeout", "20s") for line in lines}
        stopped = command(steering, "control", "stop", "--yes", "--timeout", "20s")
        ended = worker.wait(PATIENCE)
    finally:
        worker.kill()
        worker.wait()
    after = command(steering, "inspect", "ping")

    assert {line: each.stderr for line, each in done.items() if each.returncode != exits.OK} == {}
    assert "***" in done["inspect config"].stdout
    assert (stopped.returncode, ended) == (exits.OK, exits.OK), stopped.stderr
    assert after.returncode == exits.NO_WORKER


def _until(is_so: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > end or process.poll() is not None:
            pytest.fail(f"exit code {process.poll()}:\n{log.read_text()}")
        time.sleep(0.1)


# -- without what they need ------------------------------------------------------------------------------

#: a command of each kind, and the right that it misses first
NEEDS = {
    "lag {group}": "Describe on group '{group}'",
    "lag {group} --check --max-messages 1": "Describe on group '{group}'",
    "top {group} --once --interval 200ms": "Describe on group '{group}'",
    "groups describe {group}": "Describe on group '{group}'",
    "groups lag {group}": "Describe on group '{group}'",
    "groups reset {group} --to latest --yes": "Describe on group '{group}'",
    "topics describe {topic}": "Describe on topic '{topic}'",
    "topics create {name}-made": "Create on topic '{name}-made'",
    "inspect ping": "Describe on topic '{name}.control'",
    "control pause --all": "Describe on topic '{name}.control'",
    "control resume --all": "Describe on topic '{name}.control'",
    "control stop --yes": "Describe on topic '{name}.control'",
    "dlq list {dead}": "Describe on topic '{dead}'",
    "dlq show {dead} 0:0": "Describe on topic '{dead}'",
    "dlq replay {dead}": "Describe on topic '{dead}'",
    "dlq drop {dead} --yes": "Describe on topic '{dead}'",
}
#: these see what they may see, which without a right is nothing
SILENT = ("topics list", "groups list", "dlq list", "lag", "top --once --json --interval 200ms")


def ran(settings: Settings, world: World, lines: Sequence[str]) -> dict[str, subprocess.CompletedProcess[str]]:
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(lines, pool.map(lambda line: command(settings, *world.filled(line)), lines), strict=True))


def wrong(done: dict[str, subprocess.CompletedProcess[str]], texts: dict[str, str]) -> dict[str, tuple[int, str]]:
    """Those that did not end with the code of the broker and the text, said as an error."""
    return {
        line: (each.returncode, each.stderr)
        for line, each in done.items()
        if each.returncode != exits.BROKER or texts[line] not in _plain(each.stderr) or "Traceback" in each.stderr
    }


def _plain(text: str) -> str:
    return " ".join(text.split())


def test_a_missing_acl_is_named(secure: Secure, world: World) -> None:
    settings = Settings(name=world.name, brokers=secure.bootstrap, kafka=secure.user())
    texts = {line: f"an ACL is missing: this client needs {' '.join(world.filled(NEEDS[line]))}" for line in NEEDS}

    assert wrong(ran(settings, world, list(NEEDS)), texts) == {}


def test_who_may_see_nothing_is_shown_nothing(secure: Secure, world: World) -> None:
    settings = Settings(name=world.name, brokers=secure.bootstrap, kafka=secure.user())
    done = ran(settings, world, SILENT)

    assert {line: each.stderr for line, each in done.items() if each.returncode != exits.OK} == {}
    assert [line for line, each in done.items() if world.topic in each.stdout] == []


#: how they are refused, and what is said
REFUSED = {
    "wrong password": "the broker refused the credentials of user 'worker', who is unknown or has another password",
    "untrusted": "is not trusted: self-signed certificate in certificate chain",
    "expired": "has expired",
}


def refused(secure: Secure, world: World, how: str) -> Settings:
    kafka = secure.broker.client("worker")
    if how == "wrong password":
        return Settings(name=world.name, brokers=secure.bootstrap, kafka={**kafka, "sasl.password": "wrong"})
    brokers = secure.expired if how == "expired" else secure.bootstrap
    return Settings(name=world.name, brokers=brokers, kafka={**kafka, "ssl.ca.location": str(secure.other_authority)})


@pytest.mark.parametrize("how", REFUSED)
def test_who_is_not_let_in_is_told_why(secure: Secure, world: World, how: str) -> None:
    lines = [*NEEDS, *SILENT]

    assert wrong(ran(refused(secure, world, how), world, lines), dict.fromkeys(lines, REFUSED[how])) == {}


# -- the monitor, which goes on --------------------------------------------------------------------------


@contextlib.contextmanager
def monitor(settings: Settings, world: World, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv = ["monitor", "--http-port", "0", "--interval", "200ms", "--group", world.group]
    with log.open("wb") as file:
        running = subprocess.Popen(
            [sys.executable, "-m", "elsa", *argv], env=environment(settings), stdout=file, stderr=file
        )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def test_the_monitor_serves_what_its_role_may_see(secure: Secure, world: World, tmp_path: Path) -> None:
    log = tmp_path / "monitor.log"
    with monitor(role(secure, world, "monitor"), world, log) as running:
        _until(lambda: "metrics at" in log.read_text(), running, log)
        found = re.search(r"metrics at (http://\S+/metrics)", log.read_text())
        assert found is not None

        def page() -> str:
            with urllib.request.urlopen(found[1], timeout=30) as answer:
                return str(answer.read().decode())

        _until(lambda: f'group="{world.group}"' in page(), running, log)
        os.kill(running.pid, signal.SIGTERM)

        assert running.wait(PATIENCE) == exits.OK


@pytest.mark.parametrize("how", [*REFUSED, "missing ACL"])
def test_the_monitor_says_why_it_sees_nothing_and_ends_when_it_is_told(
    secure: Secure, world: World, tmp_path: Path, how: str
) -> None:
    log = tmp_path / "monitor.log"
    if how == "missing ACL":
        settings = Settings(name=world.name, brokers=secure.bootstrap, kafka=secure.user())
        text = f"this client needs Describe on group '{world.group}'"
    else:
        settings, text = refused(secure, world, how), REFUSED[how]
    with monitor(settings, world, log) as running:
        _until(lambda: text in log.read_text(), running, log)
        os.kill(running.pid, signal.SIGTERM)
        code = running.wait(PATIENCE)

    assert code == exits.OK
    assert "Traceback" not in log.read_text()
