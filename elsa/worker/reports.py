"""What handlers work on now, in words: for forced stops, `/statusz` and whoever else asks; any thread may call."""

from __future__ import annotations

import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from types import FrameType

    from elsa.worker.partition import PartitionWorker
    from elsa.worker.turns import Turn


def calls(worker: PartitionWorker, *, with_stacks: bool = True) -> list[dict[str, Any]]:
    """The running calls of one partition worker, each with where it is, for how long, and its last heartbeat.

    One in a child process has no stack: its thread here only waits for the answer.
    """
    found = []
    for turn in worker.underway.running():
        raws = turn.running()
        if not raws:
            continue
        offset, key = raws[0].offset(), raws[0].key()
        call: dict[str, Any] = {
            "handler": worker.handler_of(raws),
            **partition(worker),
            "offset": offset,
            "key": key if key is None or isinstance(key, str) else key.decode(errors="replace"),
            "messages": len(raws),
            "attempt": worker.kept.attempts.get(offset, 0) + 1,
            "seconds": round(time.perf_counter() - turn.since, 3),
            "progress": worker.kept.progress.get(offset),
        }
        if with_stacks and turn.on_close is None:
            call["stack"] = stack(turn)
        found.append(call)
    return found


def partition(worker: PartitionWorker) -> dict[str, Any]:
    """Which partition it is whose calls a worker runs."""
    return {
        "group": worker.group,
        "source": worker.source,
        "topic": worker.partition.topic,
        "partition": worker.partition.partition,
        "delivery": worker.binding.first.declared.delivery,
    }


def fate(call: Mapping[str, Any]) -> str:
    """What becomes of the message of a call that is given up.

    >>> fate({"delivery": "at_most_once"})
    'it runs at most once, so its message is not delivered again'
    """
    if call["delivery"] == "at_most_once":
        return "it runs at most once, so its message is not delivered again"
    return "its message will be delivered again"


def stack(turn: Turn) -> str:
    """Where a call stands."""
    if turn.coroutine is not None:
        frames = _awaited(turn.coroutine)
        return "".join(
            traceback.format_list([entry for frame in frames for entry in traceback.extract_stack(frame, 1)])
        )
    return _stack(turn.thread)


def place(thread: threading.Thread) -> str:
    """Where a thread is."""
    return _stack(thread.ident)


def _stack(thread: int | None) -> str:
    frame = sys._current_frames().get(thread) if thread is not None else None
    return "".join(traceback.format_stack(frame)) if frame is not None else ""


def _awaited(coroutine: Any) -> list[FrameType]:
    """The frames of a suspended coroutine and of what it awaits, outermost first."""
    frames = []
    while coroutine is not None and (frame := getattr(coroutine, "cr_frame", None)) is not None:
        frames.append(frame)
        coroutine = coroutine.cr_await
    return frames
