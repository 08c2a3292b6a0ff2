"""The applications in workers/ do what their first paragraphs say, run as the Procfile runs them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from elsa import exits
from elsa.app import App
from elsa.broker import EmbeddedKafka
from elsa.demo.dataset import read_flights
from elsa.errors import UnknownTopic
from elsa.testing.kafka import require_embedded, unique_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.message import Message

ROOT = Path(__file__).parents[2]
PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
PATIENCE_SECONDS = 120.0

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[str]:
    """A Kafka of its own: the applications' topics have fixed names."""
    require_embedded()
    with EmbeddedKafka(ephemeral=True) as kafka:
        yield kafka.bootstrap


@pytest.fixture
def client(own_kafka: str) -> Iterator[App]:
    app = App(unique_name("workers"), brokers=own_kafka)
    yield app
    app.stop()


@pytest.fixture
def run(own_kafka: str, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """`run("orders")` starts that line of the Procfile; at the end each must stop in order."""
    started: list[tuple[str, subprocess.Popen[str]]] = []
    own = {name: value for name, value in os.environ.items() if not name.startswith("ELSA_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{own.get('PATH', '')}"
    env = own | {"ELSA_BROKERS": own_kafka, "ELSA_RUNTIME_DIR": str(tmp_path), "PATH": path}

    def start(name: str) -> None:
        log = (tmp_path / f"{name}.log").open("w")
        with log:
            # for the shell of a Procfile runner
            argv = shlex.split(PROCFILE[name].removeprefix("exec "))
            started.append((name, subprocess.Popen(argv, cwd=ROOT, env=env, stdout=log, stderr=log, text=True)))

    yield start
    codes = {}
    for name, process in started:
        process.send_signal(signal.SIGTERM)
        try:
            codes[name] = process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()
    assert codes == {name: exits.OK for name, _ in started}, (tmp_path / f"{started[0][0]}.log").read_text()


def wait_for(client: App, topic: str, found: Callable[[list[Message]], Any]) -> list[Message]:
    """The messages of a topic, once `found` is true of them."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            messages = list(client.stream(topic))
        except UnknownTopic:
            messages = []
        if found(messages):
            return messages
        assert time.monotonic() < deadline, f"{topic}: {messages}"
        time.sleep(0.2)


def bodies(messages: list[Message]) -> list[dict[str, Any]]:
    return [json.loads(message.value or b"") for message in messages]


def test_each_line_of_the_procfile_is_an_application() -> None:
    names = {path.stem for path in (ROOT / "workers").glob("*.py")}

    assert names == set(PROCFILE)
    for name, line in PROCFILE.items():
        assert re.fullmatch(rf"exec elsa worker workers\.{name}:app", line)


def test_flights_are_counted_by_aircraft(client: App, run: Callable[[str], None]) -> None:
    from workers.flights import FIRST_FLIGHTS, publish

    client.topics.create("flights", partitions=3)
    run("flights")
    published = publish(client, FIRST_FLIGHTS)

    def all_counted(messages: list[Message]) -> bool:
        newest = {message.key: body for message, body in zip(messages, bodies(messages), strict=True)}
        counted: int = sum(totals["flights"] for body in newest.values() for totals in body["carriers"].values())
        return counted == published

    records = wait_for(client, "flights.delays", all_counted)
    first = next(read_flights())
    assert first.key.encode() in {message.key for message in records}
    assert client.topics.list()["flights.delays"] == 3


def test_orders_become_invoices_and_mails(client: App, run: Callable[[str], None]) -> None:
    orders = [{"id": number, "customer": f"c{number % 3}", "amount": 80.0} for number in range(1, 21)]
    refused = {"id": 21, "customer": "c1", "amount": -1.0}
    run("orders")
    client.topics.create("orders", partitions=3)
    client.produce("orders", [(one["customer"], json.dumps(one)) for one in (*orders, refused)])

    invoices = wait_for(client, "invoices", lambda messages: len(messages) >= 20)
    mails = wait_for(client, "mails", lambda messages: len(messages) >= 20)
    dead = wait_for(client, "orders.billing.dlq", len)

    assert {body["order"] for body in bodies(invoices)} == set(range(1, 21))
    assert all(body["total"] == 100.0 for body in bodies(invoices))
    assert {message.key for message in invoices} == {b"c0", b"c1", b"c2"}
    assert len(mails) == 20
    assert bodies(dead) == [refused]
    assert dead[0].header("elsa-error-message") == b"order 21 has the amount -1"


def test_views_become_visits(client: App, run: Callable[[str], None]) -> None:
    minutes = {"ann": (0, 10, 45, 200), "bo": (0, 100)}
    views = [(who, {"visitor": who, "page": "/", "time": 60.0 * at}) for who, times in minutes.items() for at in times]
    client.topics.create("views", partitions=2)
    run("sessions")
    client.produce("views", [(who, json.dumps(view)) for who, view in views])

    visits = bodies(wait_for(client, "visits", lambda messages: len(messages) >= 3))
    still_open = wait_for(client, "visits.open", lambda messages: len({message.key for message in messages}) == 2)

    seen = {(visit["visitor"], visit["number"]): (visit["pages"], visit["ended"]) for visit in visits}
    assert seen == {("ann", 1): (2, 600.0), ("ann", 2): (1, 2_700.0), ("bo", 1): (1, 0.0)}
    newest = {message.key: body["number"] for message, body in zip(still_open, bodies(still_open), strict=True)}
    assert newest == {b"ann": 3, b"bo": 2}


def test_sales_are_reported_once_on_time(client: App, run: Callable[[str], None]) -> None:
    run("reports")
    wait_for(client, "reports.tasks", len)
    sales = [{"product": ("tea", "milk")[number % 2], "amount": 1.5} for number in range(20)]
    client.produce("sales", [(one["product"], json.dumps(one)) for one in sales])

    def all_reported(messages: list[Message]) -> bool:
        return sum(sum(body["sold"].values()) for body in bodies(messages)) >= 30

    reports = bodies(wait_for(client, "reports", all_reported))
    calls = [message.header("elsa-id") for message in client.stream("reports.tasks")]

    assert sum(body["sold"]["tea"] for body in reports if "tea" in body["sold"]) == 15
    assert sum(sum(body["sold"].values()) for body in reports) == 30
    assert all(body["ends"].endswith("0Z") for body in reports)
    assert len(calls) == len(set(calls))
