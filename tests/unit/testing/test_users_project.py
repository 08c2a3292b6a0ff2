"""A project that uses Elsa tests its handlers, in a pytest run of its own: on the harness and on both Kafkas.

The first two files are the README's (section "Testing your handlers").
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_SHOP = """
from msgspec import Struct

import elsa


class Order(Struct):
    id: int
    customer: str
    amount: float


app = elsa.App("shop")


@app.handler("orders", group="billing", retry=elsa.Retry(max_attempts=3))
def bill(order: Order, ctx: elsa.Context) -> None:
    if order.amount <= 0:
        raise elsa.Reject(f"order {order.id} has nothing to pay")
    charge(order)
    ctx.send("invoices", {"order": order.id}, key=order.customer)


def charge(order: Order) -> None:
    pass
"""

_TESTS = """
import pytest

import shop
from shop import Order, app, bill


def test_an_order_is_billed():
    with app.test() as t:
        t.send("orders", {"id": 1, "customer": "ann", "amount": 80}, key="ann")
        bill.send(Order(2, "bo", 12.5))

        assert [m.json() for m in t.sent("invoices")] == [{"order": 1}, {"order": 2}]
        assert t.committed("orders") == 2


def test_an_order_without_an_amount_is_rejected():
    with app.test() as t:
        bill.send(Order(3, "cy", 0))

        (letter,) = t.dead_letters("orders")
        assert (letter.reason, letter.error_message) == ("rejected", "order 3 has nothing to pay")


def test_a_failing_card_is_tried_again(monkeypatch):
    def refuse(order):
        raise ConnectionError("the bank does not answer")

    monkeypatch.setattr(shop, "charge", refuse)
    with app.test(raise_errors=False) as t:
        bill.send(Order(4, "di", 5))
        while t.advance_to_next():
            pass

        assert [one.outcome for one in t.outcomes] == ["retried", "retried", "dead"]
        assert t.dead_letters(bill)[0].reason == "exhausted"


def test_what_a_handler_raises_is_raised_by_send(monkeypatch):
    monkeypatch.setattr(shop, "charge", lambda order: 1 / 0)
    with app.test() as t, pytest.raises(ZeroDivisionError):
        bill.send(Order(5, "ed", 5))
"""

_ON_KAFKA = """
import threading
import uuid

import elsa


def test_it({fixture}):
    handled = threading.Event()
    app = elsa.App("shop-" + uuid.uuid4().hex, brokers={fixture}.bootstrap, runtime_dir={folder!r}, {options})

    @app.handler("orders-" + uuid.uuid4().hex)
    def bill(order: dict) -> None:
        handled.set()

    bill.send({{"id": 1}}).result(30)
    with app:
        assert handled.wait(30)
        assert app.is_ready
"""


def _run(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio"],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        capture_output=True,
        text=True,
    )


def test_handlers_are_tested_without_a_broker(tmp_path: Path) -> None:
    run = _run(tmp_path, shop=_SHOP, test_shop=_TESTS, conftest="")

    assert run.returncode == 0, run.stdout
    assert "4 passed" in run.stdout


def test_a_worker_runs_on_the_mock_cluster(tmp_path: Path) -> None:
    # it has no admin API to create topics with, and makes one at the first send
    text = _ON_KAFKA.format(fixture="elsa_mock_kafka", folder=str(tmp_path), options="create_topics=False")
    run = _run(tmp_path, test_it=text)

    assert run.returncode == 0, run.stdout


@pytest.mark.broker
def test_a_worker_runs_on_the_embedded_kafka(tmp_path: Path) -> None:
    text = _ON_KAFKA.format(fixture="elsa_kafka", folder=str(tmp_path), options="create_topics='dev'")
    run = _run(tmp_path, test_it=text.replace("    bill.send", "    app.topics.create(bill.topic)\n    bill.send"))

    assert run.returncode == 0, run.stdout
