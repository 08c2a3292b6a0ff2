"""The Elsa side of every benchmark: one App whose handler is chosen by BENCH_SHAPE; run by `elsa worker`.

`python -m tests.benchmarks.apps` runs the same App inside a plain program, and `... apps publish` is its sender.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import time
from pathlib import Path

import msgspec
from msgspec import Struct

import elsa
from elsa.observe.compound import Compound
from elsa.observe.metrics import observer_of
from tests.benchmarks import work
from tests.benchmarks.marks import Journal, Spans, Tally
from tests.benchmarks.streams import body, key_of


class Order(Struct):
    """The body of every message."""

    id: int
    customer: str
    amount: float
    note: str


def set_tracing(kind: str) -> None:
    """`out` cuts tracing out of the worker's loop, `sdk` and `ratio` set a provider that exports nothing."""
    if kind == "out":
        from elsa.worker import delivery

        source, question = inspect.getsource(delivery.run), "if not is_traced:"
        assert source.count(question) == 1
        exec(source.replace(question, "if True:"), vars(delivery))
    elif kind in ("sdk", "ratio"):
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBasedTraceIdRatio

        trace.set_tracer_provider(TracerProvider(ALWAYS_ON if kind == "sdk" else ParentBasedTraceIdRatio(0.01)))


set_tracing(os.environ.get("BENCH_TRACING", ""))
app = elsa.App()
_shape = os.environ.get("BENCH_SHAPE", "")
_topic = os.environ.get("BENCH_TOPIC", "bench")
_topics = _topic.split(",")
_partitions = int(os.environ.get("BENCH_PARTITIONS", "6"))
_count = int(os.environ.get("BENCH_COUNT", "0"))
_file = Path(os.environ.get("BENCH_FILE", os.devnull))
_is_embedded = __name__ == "__main__"

if _shape == "count":
    tally = Tally(_count, _file, beside=None if _is_embedded else os.getppid())
    mark = tally.mark

    @app.handler(_topic)
    def count(order: Order) -> None:
        mark(order.id)

elif _shape == "count-async":
    tally = Tally(_count, _file, beside=None if _is_embedded else os.getppid())
    mark = tally.mark

    @app.handler(_topic)
    async def count_async(order: Order) -> None:
        mark(order.id)

elif _shape == "count-key":
    tally = Tally(_count, _file, beside=None if _is_embedded else os.getppid())
    mark = tally.mark

    @app.handler(_topic, ordering="key", concurrency=100)
    def count_key(order: Order) -> None:
        mark(order.id)

elif _shape == "count-key-async":
    tally = Tally(_count, _file, beside=os.getppid())
    mark = tally.mark

    @app.handler(_topic, ordering="key", concurrency=100)
    async def count_key_async(order: Order) -> None:
        mark(order.id)

elif _shape in ("count-list", "count-everywhere"):
    tally = Tally(_count, _file, key=lambda number: number % (len(_topics) * _partitions), beside=os.getppid())
    mark = tally.mark

    def count_list(order: Order) -> None:
        mark(order.id)

    if _shape == "count-list":
        app.handler(_topics)(count_list)
    else:
        # a handler for each topic has a pool of threads for each
        for _one in _topics:
            app.handler(_one, name=f"count {_one}")(count_list)

elif _shape == "journal-list":
    journal = Journal(_file)

    @app.handler(_topics)
    def note_list(order: Order) -> None:
        journal.mark(order.id)

elif _shape == "slow-list":

    @app.handler(_topics)
    def slow_list(order: Order) -> None:
        time.sleep(0.001)

elif _shape == "io":
    spans = Spans(_count, _file, key_of, beside=os.getppid())

    @app.handler(_topic, ordering="key", concurrency=500)
    async def wait_async(order: Order) -> None:
        begun = spans.begin()
        await asyncio.sleep(0.01)
        spans.end(order.id, begun)

elif _shape == "io-threads":
    spans = Spans(_count, _file, key_of, beside=os.getppid())

    @app.handler(_topic, ordering="key", concurrency=100)
    def wait(order: Order) -> None:
        begun = spans.begin()
        time.sleep(0.01)
        spans.end(order.id, begun)

elif _shape in ("work-async", "work-threads"):
    ordering = os.environ["BENCH_ORDERING"]
    spans = Spans(_count, _file, work.key_of(ordering, int(os.environ["BENCH_KEYS"])), beside=os.getppid())

    if _shape == "work-async":

        @app.handler(_topic, ordering=ordering, concurrency=100)
        async def work_async(order: Order) -> None:
            begun = spans.begin()
            await asyncio.sleep(work.seconds(order.id))
            spans.end(order.id, begun)

    else:

        @app.handler(_topic, ordering=ordering, concurrency=100)
        def work_in_threads(order: Order) -> None:
            begun = spans.begin()
            time.sleep(work.seconds(order.id))
            spans.end(order.id, begun)

elif _shape in ("burn", "burn-process"):
    journal = Journal(_file)
    loops = int(os.environ["BENCH_LOOPS"])
    is_apart = _shape == "burn-process"

    @app.handler(_topic, executor="process" if is_apart else "auto", concurrency=2 if is_apart else None)
    def burn(order: Order) -> None:
        journal.mark(order.id)
        work.burn(loops)

elif _shape == "journal":
    journal = Journal(_file)

    @app.handler(_topic)
    def note(order: Order) -> None:
        journal.mark(order.id)

elif _shape == "journal-key":
    journal = Journal(_file)

    @app.handler(_topic, ordering="key", concurrency=100)
    def note_key(order: Order) -> None:
        journal.mark(order.id)

elif _shape == "journal-generation":
    journal = Journal(_file)

    @app.handler(_topic)
    def note_generation(order: Order, ctx: elsa.Context) -> None:
        journal.mark(order.id, ctx.generation or 0)

elif _shape == "slow":

    @app.handler(_topic)
    def slow(order: Order) -> None:
        time.sleep(0.001)

elif _shape == "publish":

    @app.handler(_topic)
    def receive(order: Order) -> None:
        raise AssertionError(order)


def publish() -> None:
    """Send typed messages until the broker has confirmed all of them; writes the seconds and the CPU seconds."""
    decode = msgspec.json.Decoder(Order).decode
    orders = [decode(body(number)) for number in range(_count)]
    keys = [str(key_of(number)) for number in range(_count)]
    send = receive.send
    send(orders[0], key=keys[0]).result(30)
    begun, cpu = time.perf_counter(), time.process_time()
    for order, key in zip(orders, keys, strict=True):
        send(order, key=key)
    left = app.producer.flush(120)
    found = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu, "left": left}
    _file.write_text(json.dumps(found))
    app.stop()


if os.environ.get("BENCH_OBSERVED") == "1":
    # what a worker process puts there by itself
    app.observer = Compound(observer_of(app), app.observer)

if _is_embedded:
    if sys.argv[1:] == ["publish"]:
        publish()
    else:
        with app:
            tally.done.wait(120)
