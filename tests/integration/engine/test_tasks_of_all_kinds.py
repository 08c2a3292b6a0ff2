"""Tasks that share a topic may run in threads, on the event loop and in child processes, and keep one order.

By key the kinds run side by side while each key goes from one to the other; with one lane for the partition each call
waits for the one before it, wherever that runs. A name that nobody knows is a dead letter and holds nobody up.
"""

from __future__ import annotations

import importlib
import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import elsa

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from elsa.testing.kafka import Topics

    from .waiting import Log

pytestmark = pytest.mark.broker

_TASKS = """
import asyncio, json, os, threading, time
import elsa

app = elsa.App({app!r}, brokers={brokers!r}, runtime_dir={folder!r}, metadata_refresh=1.0)
told = os.open({told!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
options = dict(topic={topic!r}, ordering={ordering!r})

def tell(what, kind, ctx):
    os.write(told, (json.dumps([what, kind, ctx.key.decode(), ctx.offset, os.getpid()]) + "\\n").encode())

@app.task(name="thread", concurrency=4, **options)
def in_thread(n: int, ctx: elsa.Context):
    tell("begin", "thread", ctx)
    time.sleep(0.01)
    tell("end", "thread", ctx)

@app.task(name="loop", concurrency=4, **options)
async def on_loop(n: int, ctx: elsa.Context):
    tell("begin", "loop", ctx)
    await asyncio.sleep(0.01)
    tell("end", "loop", ctx)

@app.task(name="process", executor="process", concurrency=2, retry=elsa.Retry(max_attempts=2, base=0), **options)
def in_process(n: int, ctx: elsa.Context):
    tell("begin", "process", ctx)
    time.sleep(0.01)
    tell("end", "process", ctx)
    if n % 7 == 0 and ctx.attempt == 1:
        raise ValueError("once more")
"""


@pytest.mark.parametrize("ordering", ["key", "partition"])
def test_they_keep_their_order_across_kinds(  # noqa: PLR0917 - fixtures
    make_app: Callable[..., elsa.App],
    topic: Topics,
    log: Log,
    brokers: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ordering: str,
) -> None:
    name, cleaner = topic(), make_app()
    cleaner.stop(0)
    told = tmp_path / "told"
    facts = {"app": cleaner.name, "brokers": brokers, "folder": str(tmp_path), "told": str(told)}
    module_name = f"tasks_{name.rpartition('-')[2]}"
    (tmp_path / f"{module_name}.py").write_text(_TASKS.format(**facts, topic=name, ordering=ordering))
    monkeypatch.syspath_prepend(str(tmp_path))
    app: elsa.App = importlib.import_module(module_name).app
    kinds, keys = ["thread", "loop", "process"], ["a", "b", "c", "d", "e"]
    records = [
        elsa.Record(
            json.dumps([[n], {}]),
            key=keys[n % 5],
            headers={"elsa-task": "nobody's" if n == 30 else kinds[n % 3]},
            partition=0,
        )
        for n in range(60)
    ]
    app.produce(name, records)
    try:
        app.start()
        log.wait_committed(app.name, name, 60)
        (dead,) = log.wait_for(f"{name}.{app.name}.dlq", 1)
    finally:
        app.stop(10)

    assert (dead.header("elsa-reason"), dead.header("elsa-origin")) == (b"unknown", f"{name}:0:30".encode())
    lines: list[Any] = [json.loads(line) for line in told.read_text().splitlines()]
    running: Counter[str] = Counter()
    most, last = 0, dict.fromkeys(keys, -1)
    for what, _, key, offset, _ in lines:
        lane = key if ordering == "key" else ""
        running[lane] += 1 if what == "begin" else -1
        assert running[lane] <= 1, f"offset {offset} began too early"
        most = max(most, running.total())
        assert offset >= last[key]
        last[key] = offset
    ended = Counter(offset for what, _, _, offset, _ in lines if what == "end")
    again = {n for n in range(60) if n % 3 == 2 and n % 7 == 0}
    assert ended == Counter({n: 2 if n in again else 1 for n in range(60) if n != 30})
    assert {kind for _, kind, _, _, pid in lines if pid != os.getpid()} == {"process"}
    if ordering == "key":
        assert most > 1
    else:
        assert [offset for what, _, _, offset, _ in lines if what == "begin"] == sorted(
            [n for n in range(60) if n != 30] + list(again)
        )
