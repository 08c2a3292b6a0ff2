"""The application under stress: a handler of each kind, which notes what it has handled.

Run by the fleet as `elsa worker tests.stress.app:app`; the environment says where to note and who it is.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

import elsa
from elsa.delays import trimming
from tests.stress.journal import DONE, LOST, Handled, Journal
from tests.stress.kinds import FAIL, FAILURES, KINDS, REJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

app = elsa.App("stress")
_worker = int(os.environ["STRESS_WORKER"])
_journal = Journal(Path(os.environ["STRESS_JOURNAL"]), _worker)
_index = {kind.name: number for number, kind in enumerate(KINDS)}
_kinds = {kind.name: kind for kind in KINDS}
_kind_of = {kind.topic: number for number, kind in enumerate(KINDS)}
#: long enough that calls are under way whenever something is killed
_SECONDS = 0.02


class Note(Struct):
    """One message of the stream; `lane` is its key."""

    number: int
    lane: int
    fate: int = 0


class Failing(Exception):
    """What a message raises that is to be tried again."""


if "STRESS_UNTRIMMED" in os.environ:
    # so that what was lost leaves traces
    trimming.Trimming.run = lambda *_: None  # type: ignore[method-assign]

_soon = elsa.Retry(base=0.2, max_delay=1.0, where="memory")
_by_topic = elsa.Retry(base=1.0, max_delay=2.0, where="topic")


def _record(name: str, note: Note, ctx: elsa.Context) -> Handled:
    place = ctx.partition, ctx.offset
    return Handled(DONE, _index[name], _worker, _journal.pid, note.lane, *place, note.number, time.monotonic())


def _meet_fate(note: Note, ctx: elsa.Context) -> None:
    if note.fate == REJECT:
        raise elsa.Reject(f"number {note.number} is one of those")
    if note.fate == FAIL and ctx.attempt <= FAILURES:
        raise Failing(f"number {note.number} fails {FAILURES} times")


def _handle(name: str, note: Note, ctx: elsa.Context) -> None:
    time.sleep(_SECONDS * (note.number % 5) / 2)
    _meet_fate(note, ctx)
    _journal.write(_record(name, note, ctx))


def _send(name: str, note: Note, ctx: elsa.Context) -> None:
    # the reader of the output takes it for a record of a journal
    ctx.send(_kinds[name].output, _record(name, note, ctx).pack(), partition=0)


@app.handler(_kinds["key"].topic, ordering="key", concurrency=16, retry=_soon)
def by_key(note: Note, ctx: elsa.Context) -> None:
    _handle("key", note, ctx)


@app.handler(_kinds["partition"].topic, ordering="partition", retry=_soon)
def by_partition(note: Note, ctx: elsa.Context) -> None:
    _handle("partition", note, ctx)


@app.handler(_kinds["none"].topic, ordering="none", retry=_soon)
async def unordered(note: Note, ctx: elsa.Context) -> None:
    await asyncio.sleep(_SECONDS * (note.number % 5))
    _meet_fate(note, ctx)
    _journal.write(_record("none", note, ctx))


@app.handler(_kinds["moved"].topic, ordering="none", concurrency=8, retry=_by_topic)
def moved(note: Note, ctx: elsa.Context) -> None:
    _handle("moved", note, ctx)


@app.handler(_kinds["relayed"].topic, ordering="key", concurrency=16, retry=_soon)
async def relay(note: Note, ctx: elsa.Context) -> None:
    await asyncio.sleep(_SECONDS * (note.number % 5) / 2)
    _send("relayed", note, ctx)


@app.handler(_kinds["exact"].topic, ordering="key", concurrency=16, retry=_soon, transactional=True)
def exactly(note: Note, ctx: elsa.Context) -> None:
    time.sleep(_SECONDS * (note.number % 5) / 2)
    # sent before it fails: of a call that failed nobody may ever see anything
    _send("exact", note, ctx)
    _meet_fate(note, ctx)


@app.on_lost
def note_lost(partitions: Sequence[elsa.TopicPartition]) -> None:
    for topic, partition in partitions:
        kind = _kind_of.get(topic, len(KINDS))
        _journal.write(Handled(LOST, kind, _worker, _journal.pid, 0, partition, 0, 0, time.monotonic()))
