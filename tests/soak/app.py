"""The soak's worker: a handler of each kind, by key, that fails, waits, sends and defers as the plan says.

Run by `elsa worker tests.soak.app:app`. A thread of it writes down, once a second, how much the engine has in its
tables; the child processes of the process executor import this module as well and have no engine to look at.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

import elsa
from tests.soak import plan
from tests.soak.ledger import GIVEN_UP, SENT_ON, Ledger

if TYPE_CHECKING:
    from elsa.worker.assigned import Assigned
    from elsa.worker.runtime import Runtime

FOLDER = Path(os.environ["SOAK_FOLDER"])
SLOW_SECONDS = float(os.environ.get("SOAK_SLOW_SECONDS", "10"))
_SAMPLE_SECONDS = 1.0
_RETRY = elsa.Retry(max_attempts=3, base=0.02, jitter=False)


class Body(Struct):
    """A message of the sender."""

    key: int
    place: int
    number: int


class Refused(Exception):
    """What a message that is to fail fails with."""


app = elsa.App(plan.GROUP)
LEDGERS = {lane.topic: Ledger(FOLDER, lane.topic, lane.keys) for lane in plan.LANES}


@app.handler("soak-async", ordering="key", concurrency=200, retry=_RETRY)
async def on_loop(body: Body, ctx: elsa.Context) -> Any:
    """Waits, fails, sends, defers."""
    ledger = LEDGERS["soak-async"]
    ledger.begin(body.key)
    try:
        if plan.is_slow(body.number):
            ctx.heartbeat(body.number)
            await asyncio.sleep(SLOW_SECONDS)
        elif body.number % 4 == 0:
            await asyncio.sleep(0.001)
        _refuse(ledger, body, ctx)
        if plan.sends(body.number):
            await ctx.send(plan.OUT, {"number": body.number}, key=str(body.key))
            ledger.note(SENT_ON)
    except BaseException:
        ledger.fail(body.key)
        raise
    ledger.end(body.key, body.place)
    if plan.defers(body.number):
        asyncio.get_running_loop().call_later(0.05, _acknowledge, ctx)
        return elsa.DEFER
    return None


@app.handler("soak-threads", ordering="key", concurrency=8, retry=_RETRY)
def in_threads(body: Body, ctx: elsa.Context) -> Any:
    """The same in threads, of which few can wait."""
    ledger = LEDGERS["soak-threads"]
    ledger.begin(body.key)
    try:
        if plan.is_slow(body.number):
            ctx.heartbeat(body.number)
            time.sleep(SLOW_SECONDS / 2)
        elif body.number % 50 == 0:
            time.sleep(0.001)
        _refuse(ledger, body, ctx)
        if plan.sends(body.number):
            ctx.send(plan.OUT, {"number": body.number}, key=str(body.key))
            ledger.note(SENT_ON)
    except BaseException:
        ledger.fail(body.key)
        raise
    ledger.end(body.key, body.place)
    if plan.defers(body.number):
        timer = threading.Timer(0.05, _acknowledge, [ctx])
        timer.daemon = True
        timer.start()
        return elsa.DEFER
    return None


@app.handler("soak-batch", ordering="key", batch=50, retry=_RETRY)
def in_batches(bodies: list[Body], ctx: elsa.Context) -> None:
    """Fails as a whole; a poisoned member is dead when it runs alone at its last attempt."""
    ledger = LEDGERS["soak-batch"]
    keys = {body.key for body in bodies}
    for key in keys:
        ledger.begin(key)
    try:
        if len(bodies) == 1:
            _refuse(ledger, bodies[0], ctx)
        elif any(plan.fails(body.number, ctx.attempt) or plan.is_rejected(body.number) for body in bodies):
            raise Refused("one of the batch")
    except BaseException:
        for key in keys:
            ledger.fail(key)
        raise
    for body in bodies:
        ledger.end(body.key, body.place)


@app.handler("soak-process", ordering="key", executor="process", concurrency=1, retry=_RETRY)
def in_child(body: Body, ctx: elsa.Context) -> None:
    """A little work in a child process, some 50 times a second."""
    ledger = LEDGERS["soak-process"]
    ledger.begin(body.key)
    try:
        sum(range(20_000))
        time.sleep(0.02)
        _refuse(ledger, body, ctx)
    except BaseException:
        ledger.fail(body.key)
        raise
    ledger.end(body.key, body.place)


def _refuse(ledger: Ledger, body: Body, ctx: elsa.Context) -> None:
    """Raise for the messages that are to fail; those that end as dead letters are over."""
    if plan.is_rejected(body.number):
        ledger.end(body.key, body.place)
        ledger.note(GIVEN_UP)
        raise elsa.Reject("refused by plan")
    if plan.fails(body.number, ctx.attempt):
        if ctx.attempt == _RETRY.max_attempts:
            ledger.end(body.key, body.place)
            ledger.note(GIVEN_UP)
        raise Refused("as planned")


def _acknowledge(ctx: elsa.Context) -> None:
    try:
        ctx.ack()
    except elsa.errors.NotAssigned:
        # the partition went in the meantime: it is delivered again
        return


def sizes(runtime: Runtime) -> dict[str, int]:
    """How much the engine has in its tables, over all partitions."""
    found: Counter[str] = Counter()
    for manager in runtime.managers:
        for assigned in list(manager.assignment.owned.values()):
            found.update(_of_partition(assigned))
        # what belongs to nothing in hand any more must not pile up in these
        found["timers"] += len(manager.timers)
        found["busy partitions"] += len(manager.assignment.busy)
        found["ending workers"] += len(manager.assignment.ending)
    found["threads"] = threading.active_count()
    found["open files"] = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return dict(found)


def _of_partition(assigned: Assigned) -> dict[str, int]:
    tracker, worker = assigned.tracker, assigned.worker
    found = {
        "waiting": len(assigned.overflow),
        "unfinished": len(tracker._open),
        "remembered order": len(tracker._order),
        "slices": len(assigned.timestamps),
    }
    if worker is not None:
        found["keys in lanes"] = len(getattr(worker.backlog.lanes, "_lanes", ()))
        found["parked"] = worker.parked
        found["attempts"] = len(worker.kept.attempts)
        found["progress"] = len(worker.kept.progress)
        found["alone"] = len(worker.kept.alone)
        found["deferred"] = len(worker.deferrals._waiting) + len(worker.deferrals._early)
        found["turns"] = len(worker.underway.turns)
    return found


def _watch() -> None:
    """Once a second, until the process ends."""
    pause = threading.Event()
    with (FOLDER / "sizes.jsonl").open("a") as file:
        while not pause.wait(_SAMPLE_SECONDS):
            runtime = app._runtime
            if runtime is None:
                continue
            try:
                line = json.dumps({"at": time.monotonic(), **sizes(runtime)})
            except RuntimeError:
                # a table changed while it was looked at: the next second will do
                continue
            file.write(line + "\n")
            file.flush()


@app.on_startup
def watch() -> None:
    threading.Thread(target=_watch, name="soak-watch", daemon=True).start()
