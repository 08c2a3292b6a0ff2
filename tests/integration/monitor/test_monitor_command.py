"""`elsa monitor` serves what it sees, lives through a broker that dies, forgets what is gone, and ends when told."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as RawPartition

from elsa import exits
from elsa.broker import EmbeddedKafka
from elsa.config import Settings
from elsa.groups import Groups
from elsa.kafka import probe
from elsa.producer import Producer
from elsa.testing.kafka import require_embedded, unique_name
from elsa.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

PATIENCE = 60.0


class Monitor:
    """`elsa monitor` as a process, and a Prometheus that scrapes it by hand."""

    def __init__(self, brokers: str, folder: Path, *argv: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("ELSA_")}
        self.log_path = folder / f"{unique_name('monitor')}.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "elsa", "monitor", "--http-port", "0", "--interval", "200ms", *argv],
                env={**env, "ELSA_BROKERS": brokers},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.url = self.until(self._url, "it listens")

    def _url(self) -> str | None:
        found = re.search(r"metrics at (http://\S+)/metrics", self.log_path.read_text())
        return found.group(1) if found else None

    def until(self, is_so: Callable[[], Any], what: str) -> Any:
        end = time.monotonic() + PATIENCE
        while not (found := is_so()):
            if time.monotonic() > end or self.process.poll() is not None:
                pytest.fail(f"waited until {what}, exit code {self.process.poll()}:\n{self.log_path.read_text()}")
            time.sleep(0.05)
        return found

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            pytest.fail(f"{path}: {error}, exit code {self.process.poll()}:\n{self.log_path.read_text()}")

    def metrics(self, *names: str) -> dict[str, float]:
        """The series of these metrics, without the name of the topic in them."""
        found = {}
        for line in self.get("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] in names:
                found[series] = float(value)
        return found

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Monitor]]:
    started: list[Monitor] = []

    def start(brokers: str, *argv: str) -> Monitor:
        started.append(Monitor(brokers, tmp_path, *argv))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def commit(brokers: str, group: str, topic: str, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group})
    consumer.commit(offsets=[RawPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def test_lag_members_and_grades_are_served_and_what_is_gone_vanishes(
    watch: Callable[..., Monitor], brokers: str, topic: Any, group: Any
) -> None:
    name, gone, used = topic(), topic(), group()
    settings = Settings(brokers=brokers)
    producer = Producer(settings)
    for each in (name, gone):
        producer.produce(each, ["a", "b", "c"])
        commit(brokers, used, each, 1)
    monitor = watch(brokers, "--group", used, "--window", "1s")
    where = f'group="{used}",topic="{name}",partition="0"'

    lag = monitor.until(lambda: monitor.metrics("elsa_group_lag_messages"), "lag is served")
    status = monitor.until(
        lambda: monitor.metrics("elsa_group_partition_status").get(
            f'elsa_group_partition_status{{{where},status="stop"}}'
        ),
        "nobody commits",
    )
    rest = monitor.metrics("elsa_group_members", "elsa_group_info", "elsa_group_committed_offset", "elsa_monitor_up")
    ages = monitor.metrics("elsa_group_lag_seconds")
    probes = [monitor.get(path)[0] for path in ("/livez", "/readyz", "/startupz")]
    told = json.loads(monitor.get("/statusz")[1])
    Topics(settings).delete(gone)
    monitor.until(lambda: len(monitor.metrics("elsa_group_lag_messages")) == 1, "the topic's series are gone")
    Groups(settings).delete(used)
    monitor.until(lambda: not monitor.metrics("elsa_group_lag_messages"), "the group's series are gone")
    dead = monitor.metrics("elsa_group_info", "elsa_group_members")
    code = monitor.stop()
    producer.close()

    assert lag[f"elsa_group_lag_messages{{{where}}}"] == 2
    assert len(lag) == 2
    assert status == 1
    assert rest[f'elsa_group_members{{group="{used}"}}'] == 0
    assert rest[f'elsa_group_info{{group="{used}",state="empty"}}'] == 1
    assert rest[f"elsa_group_committed_offset{{{where}}}"] == 1
    assert rest["elsa_monitor_up"] == 1
    assert all(age > 0 for age in ages.values())
    assert probes == [200, 200, 200]
    assert told["groups"][0]["partitions"][0]["grade"] in ("ok", "stop")
    # it was named, so it is told that it does not exist
    assert dead == {f'elsa_group_info{{group="{used}",state="dead"}}': 1, f'elsa_group_members{{group="{used}"}}': 0}
    assert code == exits.OK


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[EmbeddedKafka]:
    """One node that may be killed."""
    require_embedded()
    with EmbeddedKafka(ephemeral=True) as kafka:
        yield kafka


@pytest.mark.slow
def test_a_broker_that_dies_is_told_and_so_is_its_return(
    watch: Callable[..., Monitor], own_kafka: EmbeddedKafka
) -> None:
    brokers, name, used = own_kafka.bootstrap, unique_name("topic"), unique_name("group")
    probe.create_topic(brokers, name, 1)
    commit(brokers, used, name, 0)
    monitor = watch(brokers)
    monitor.until(lambda: monitor.metrics("elsa_monitor_up").get("elsa_monitor_up") == 1, "it looks")
    pid = monitor.process.pid

    own_kafka.kill_node(1)
    monitor.until(lambda: monitor.metrics("elsa_monitor_up").get("elsa_monitor_up") == 0, "it says that it can't")
    away = [monitor.get(path)[0] for path in ("/livez", "/readyz")]
    shown = monitor.metrics("elsa_group_lag_messages")
    errors = monitor.metrics("elsa_monitor_errors_total")
    own_kafka.start_node(1)
    monitor.until(lambda: monitor.metrics("elsa_monitor_up").get("elsa_monitor_up") == 1, "it looks again")
    commit(brokers, used, name, 0)
    monitor.until(lambda: used in str(monitor.metrics("elsa_group_lag_messages")), "it sees the group again")
    code = monitor.stop()

    assert pid == monitor.process.pid
    # what was seen last is shown for a minute
    assert away == [200, 200]
    assert used in str(shown)
    assert sum(errors.values()) > 0
    assert code == exits.OK
    log = monitor.log_path.read_text()
    assert "has failed" not in log
    assert "groups can not be seen in full" in log
    assert "groups can be seen again" in log


def asked(monitor: Monitor, probe: str) -> subprocess.CompletedProcess[str]:
    """What `elsa healthcheck` says of it."""
    return subprocess.run(
        [sys.executable, "-m", "elsa", "healthcheck", "--url", monitor.url, probe],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_starts_without_a_broker_and_ends_at_once(watch: Callable[..., Monitor]) -> None:
    monitor = watch("127.0.0.1:1")

    probes = [monitor.get(path)[0] for path in ("/livez", "/readyz", "/startupz")]
    up = monitor.metrics("elsa_monitor_up")
    monitor.until(lambda: "failed" in asked(monitor, "--ready").stderr, "its first look has failed")
    told = [asked(monitor, probe) for probe in ("--live", "--ready", "--startup")]

    assert probes == [200, 503, 200]
    assert [(each.returncode, each.stdout) for each in told] == [(0, "live\n"), (1, "not ready\n"), (0, "started\n")]
    assert told[1].stderr.startswith("error: look: nothing has been seen yet, the last look failed: ")
    assert up == {"elsa_monitor_up": 0}
    assert monitor.stop() == exits.OK


def test_a_port_that_is_taken_is_named(watch: Callable[..., Monitor], brokers: str, tmp_path: Path) -> None:
    first = watch(brokers)
    port = first.url.rpartition(":")[2]

    done = subprocess.run(
        [sys.executable, "-m", "elsa", "monitor", "-b", brokers, "--http-port", port],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )

    assert done.returncode == exits.USAGE
    assert f"127.0.0.1:{port}: the port is taken" in done.stderr
    assert "--http-port" in done.stderr
