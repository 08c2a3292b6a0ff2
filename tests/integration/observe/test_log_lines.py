"""A line that is written while a message is handled says which message that is, wherever the handler's code runs."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import elsa
from tests.integration.engine.waiting import Log, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics
    from tests.integration.engine.jobs import Jobs

    from .conftest import Lines

pytestmark = pytest.mark.broker

shop = logging.getLogger("shop")

#: what every such line has
FIELDS = ("group", "topic", "partition", "offset", "handler", "attempt", "message_id", "trace_id", "span_id")


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody traces."""
    provider = TracerProvider()
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: provider)


def only(lines: Lines, message: str) -> dict[str, Any]:
    until(lambda: lines.said(message), f"{message!r} is logged")
    (line,) = lines.said(message)
    return line


def test_lines_of_handlers_of_threads_of_theirs_and_of_other_libraries(
    lines: Lines, app: elsa.App, topic: Topics
) -> None:
    name = topic(1)

    @app.handler(name, retry=elsa.Retry(max_attempts=2, base=0.05))
    def handle(body: int, ctx: elsa.Context) -> None:
        if ctx.attempt == 1:
            raise TimeoutError
        shop.info("in the handler")
        thread = threading.Thread(target=lambda: shop.info("in a thread"))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(shop.info, "in a pool").result()

    handle.send(1, id="seven").result(20)
    with app:
        found = [only(lines, text) for text in ("in the handler", "in a thread", "in a pool")]

    place = {"group": app.name, "topic": name, "partition": 0, "offset": 0, "handler": handle.name, "attempt": 2}
    for line in found:
        assert line.items() >= {**place, "message_id": "seven"}.items()
        assert (line["trace_id"], line["span_id"]) == (found[0]["trace_id"], found[0]["span_id"])
        assert len(line["trace_id"]) == 32


def test_lines_of_calls_that_wait_side_by_side(lines: Lines, app: elsa.App, topic: Topics) -> None:
    name = topic(1)
    both = asyncio.Event()

    @app.handler(name, ordering="none")
    async def handle(body: int) -> None:
        if body == 1:
            await both.wait()
        else:
            both.set()
        shop.info("call %d", body)

    app.send(name, 1, id="1").result(20)
    app.send(name, 2, id="2").result(20)
    with app:
        first, second = only(lines, "call 1"), only(lines, "call 2")

    assert [first["offset"], second["offset"]] == [0, 1]
    assert [first["message_id"], second["message_id"]] == ["1", "2"]
    assert first["span_id"] != second["span_id"]
    assert set(FIELDS) <= first.keys()


def test_lines_of_a_batch_and_of_a_setup(lines: Lines, app: elsa.App, topic: Topics) -> None:
    name = topic(1)

    @app.handler(name, batch=2, batch_wait=10)
    class Store:
        def setup(self, ctx: elsa.Context) -> None:
            shop.info("in setup")

        def handle_batch(self, batch: list[int]) -> None:
            shop.info("in the batch")

    app.produce(name, [b"1", b"2"])
    with app:
        batch, setup = only(lines, "in the batch"), only(lines, "in setup")

    assert batch.items() >= {"topic": name, "offset": 0, "messages": 2, "attempt": 1}.items()
    assert "offset" not in setup


def test_lines_of_child_processes(
    jobs: Callable[..., Jobs], capfd: pytest.CaptureFixture[str], log: Log, topic: Topics
) -> None:
    extra = """
import logging

@app.handler({topic!r} + ".log", executor="process", name="log")
def write(job: Job):
    logging.getLogger("shop").warning("in a child")
"""
    made = jobs(extra=extra)
    made.app.configure(json_logs=True)
    made.app.topics.create(f"{made.name}.log")
    made.app.send(f"{made.name}.log", {"do": "log"}, id="nine").result(20)
    with made.app:
        log.wait_committed(made.app.name, f"{made.name}.log", 1)
    found = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    (line,) = [one for one in found if one["message"] == "in a child"]

    place = {"group": made.app.name, "topic": f"{made.name}.log", "partition": 0, "offset": 0, "handler": "log"}
    assert line.items() >= {**place, "attempt": 1, "message_id": "nine"}.items()
    assert set(FIELDS) <= line.keys()
