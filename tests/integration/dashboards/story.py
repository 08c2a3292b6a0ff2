"""What happens in the end-to-end test: workers under load, a rebalance, a quota, a paused partition, then nobody.

Prometheus watches all of it with rules that are sixty times as fast; `play` returns what it was asked afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import elsa
from dashboards.alarms import Places
from dashboards.build import files, write
from dashboards.thresholds import Thresholds
from elsa.kafka import probe
from elsa.testing.kafka import Topics, unique_name
from tests.integration.engine.quotas import set_quota

from .prometheus import PATIENCE, Prometheus, prometheus, until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: one hour of rules in a minute
FASTER = 60.0
#: seconds of load before the last act, so that the pictures show a course
ACT = 60.0
PAUSED = 3
#: a topic that was deleted is there again after so many seconds
RENEWED = 5.0


@dataclass(slots=True)
class Story:
    """What is left when it is over: Prometheus, the time of the load, and what was seen on the way."""

    prometheus: Prometheus
    #: names of this run by the plain ones
    names: dict[str, str]
    start: float = 0.0
    #: the last moment at which all were at work
    end: float = 0.0
    #: seconds since 1970 when everybody was gone and an alert had said so
    over: float = 0.0
    fired: set[str] = field(default_factory=set)
    #: pages of /metrics by what they are of
    pages: dict[str, str] = field(default_factory=dict)

    def note_alerts(self) -> set[str]:
        """The alerts that fire now."""
        now = self.prometheus.firing()
        self.fired |= now
        return now


class Shop:
    """The processes of the app: workers, the monitor, and commands on them."""

    def __init__(self, brokers: str, folder: Path, names: dict[str, str]) -> None:
        self.brokers = brokers
        self.folder = folder
        self.names = names
        (folder / "shop.py").write_text((Path(__file__).parent / "shop.py").read_text())
        own = {name: value for name, value in os.environ.items() if not name.startswith("ELSA_")}
        self._environment = own | {
            "ELSA_BROKERS": brokers,
            "ELSA_RUNTIME_DIR": str(folder / "run"),
            "SHOP_NAME": names["shop"],
            "SHOP_ORDERS": names["orders"],
            "SHOP_INVOICES": names["invoices"],
            "SHOP_CLICKS": names["clicks"],
            "SHOP_RETURNS": names["returns"],
            "SHOP_LABELS": names["labels"],
            "SHOP_OFFERS": names["offers"],
        }
        (folder / "run").mkdir()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def start(self, name: str, *arguments: str) -> None:
        """Start one command of `elsa` that goes on running."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "elsa", *arguments],
                cwd=self.folder,
                env=self._environment | {"ELSA_INSTANCE": name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def worker(self, name: str, *arguments: str) -> str:
        """Start a worker; host:port of its metrics."""
        self.start(name, "worker", "shop:app", "--json-logs", "--metrics-port", "0", *arguments)
        return self._address(name)

    def monitor(self, name: str) -> str:
        """Start `elsa monitor` for the group; host:port of its metrics."""
        group = ("--group", self.names["shop"])
        self.start(name, "monitor", *group, "--http-port", "0", "--json-logs", "--interval", "1s", "--window", "10s")
        return self._address(name)

    def _address(self, name: str) -> str:
        def told() -> str | None:
            assert self.processes[name].poll() is None, self.log(name)[-4000:]
            found = re.search(r"http://([\d.]+:\d+)/metrics", self.log(name))
            return found[1] if found else None

        return str(until(told, f"{name} tells where its metrics are"))

    def run(self, *arguments: str) -> None:
        """Run one command of `elsa` to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "elsa", *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def stop(self, name: str) -> None:
        """End one in order."""
        self.processes[name].terminate()
        assert self.processes[name].wait(PATIENCE) == 0, self.log(name)[-4000:]

    def end(self) -> None:
        """Leave no process behind."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait(PATIENCE)


class Load(threading.Thread):
    """Sends orders and clicks twice a second until `stop`; a part goes to the partition that will be paused."""

    def __init__(self, brokers: str, names: dict[str, str]) -> None:
        super().__init__(name="load")
        self._client = elsa.App(unique_name("load"), brokers=brokers)
        self._names = names
        self._is_over = threading.Event()
        self.number = 0

    def run(self) -> None:
        """Send one parcel, then until told to stop."""
        self._client.produce(self._names["returns"], [b'{"id": 1}'])
        while not self._is_over.wait(0.5):
            self.send(24)
        self._client.stop(5)

    def send(self, count: int) -> None:
        """Send so many orders, over all partitions, and half as many clicks."""
        orders = [
            elsa.Record(json.dumps({"id": self.number + each}).encode(), partition=each % 6) for each in range(count)
        ]
        self._client.produce(self._names["orders"], orders)
        self._client.produce(self._names["clicks"], [b'{"page": 1}'] * (count // 2))
        self.number += count

    def stop(self) -> None:
        """End it."""
        self._is_over.set()
        self.join()


@contextlib.contextmanager
def play(brokers: str, folder: Path) -> Iterator[Story]:
    """Play it to the end; everything it has started is gone afterwards."""
    topics = Topics(brokers, "boards")
    names = {"orders": topics(6), "invoices": topics(3), "clicks": topics(3), "returns": topics(1), "offers": topics(1)}
    names |= {"labels": topics(1, {"max.message.bytes": "1000"}), "shop": unique_name("shop")}
    write(folder, files(Thresholds(faster=FASTER), Places()))
    rules = [folder / "alerts" / "recording.yaml", folder / "alerts" / "alerts.yaml"]
    shop = Shop(brokers, folder, names)
    load = Load(brokers, names)
    try:
        with prometheus(folder, rules) as watcher:
            story = Story(watcher, dict(names))
            _acts(story, shop, load)
            yield story
    finally:
        if load.is_alive():
            load.stop()
        shop.end()
        for name in shop.processes:
            print(f"--- {name}\n{shop.log(name)[-3000:]}")  # pytest shows it for tests that failed
        probe.delete_groups(brokers, [names["shop"], f"{names['shop']}.offers"])
        topics.clean_up()


def _acts(story: Story, shop: Shop, load: Load) -> None:
    watcher = story.prometheus
    orders = f'topic="{shop.names["orders"]}"'
    story.start = time.time()
    first = shop.worker("first", "--processes", "2")
    watcher.watch("shop", first)
    monitor = shop.monitor("monitor")
    watcher.watch("monitor", monitor)
    load.start()
    done = f'sum(elsa_messages_processed_total{{{orders},outcome="ok"}}) > 100'
    until(lambda: watcher.query(done), "a hundred orders are done")

    second = shop.worker("second")
    watcher.watch("shop", second)
    # which ones it gets is the assignor's choice: perhaps none of the orders
    group = f'group="{shop.names["shop"]}"'
    shared = f"count(sum by (instance) (elsa_partitions_assigned{{{group}}}) > 0) == 2"
    until(lambda: watcher.query(shared), "both workers have partitions")
    _slow_down(story, shop, first)
    _take_topic_away(story, shop)
    paused = ("--topic", shop.names["orders"], "--partition", str(PAUSED))
    shop.run("control", "pause", "--name", shop.names["shop"], *paused)
    story.pages = {"worker": _page(first), "monitor": _page(monitor)}
    wanted = {"ElsaDeadLetters", "ElsaPartitionStalled"}
    until(lambda: story.note_alerts() >= wanted, f"{wanted} fire")
    stalled = f'ALERTS{{alertname="ElsaPartitionStalled",alertstate="firing",{orders},partition="{PAUSED}"}}'
    until(lambda: watcher.query(stalled), "it fires for the paused partition")
    until(lambda: time.time() - story.start > ACT, "the load has lasted", 2 * ACT)
    story.names |= {"worker-1:9464": first, "worker-2:9464": second, "monitor:9465": monitor}
    story.end = time.time()

    load.stop()
    for name, address in (("second", second), ("first", first)):
        shop.stop(name)
        watcher.forget(address)
    until(lambda: "ElsaGroupHasNoWorkers" in story.note_alerts(), "an alert says that nobody is left")
    story.over = time.time()


def _take_topic_away(story: Story, shop: Shop) -> None:
    """Delete a topic until a metric says that a client has missed it: its worker makes it anew, perhaps before that."""
    lost = 'elsa_kafka_client_errors_total{error_type="UNKNOWN_TOPIC_OR_PART"} > 0'
    deleted = 0.0

    def is_missed() -> bool:
        nonlocal deleted
        if time.monotonic() > deleted + RENEWED:
            probe.delete_topics(shop.brokers, [shop.names["offers"]])
            deleted = time.monotonic()
        return bool(story.prometheus.query(lost))

    until(is_missed, "a client misses its topic")


def _slow_down(story: Story, shop: Shop, address: str) -> None:
    """Give the producer of one process a quota, until a metric says that the broker holds it back."""
    pid = json.loads(_page(address, "statusz"))["processes"][0]["pid"]
    client = f"{shop.names['shop']}-producer-{socket.gethostname()}-{pid}"
    set_quota(shop.brokers, client, "producer_byte_rate", 500.0)
    try:
        held = 'elsa_kafka_broker_throttle_seconds{client="producer"} > 0'
        until(lambda: story.prometheus.query(held), "a quota slows a worker down")
    finally:
        set_quota(shop.brokers, client, "producer_byte_rate", None)


def _page(address: str, path: str = "metrics") -> str:
    with urllib.request.urlopen(f"http://{address}/{path}", timeout=10) as answer:
        return str(answer.read().decode())


def picture(story: Story, answers: list[dict[str, Any]]) -> str:
    """The answers as JSON, with plain names for those of this run."""
    text = json.dumps({"start": story.start, "end": story.end, "answers": answers})
    for plain, name in story.names.items():
        text = text.replace(name, plain)
    return text
