"""Keeps messages from running that were handled before (`idempotent_by`); called by the executors' turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa.context import Context
from elsa.outcome import REPEATED, Kind, Outcome
from elsa.worker.seen import Refused

if TYPE_CHECKING:
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.turns import Turn


def is_repeated(worker: PartitionWorker, turn: Turn, raw: Any) -> bool:
    """Whether a message is not to run (now): it was handled before, or another one with its id is under way."""
    seen = worker.seen
    assert seen is not None
    invoker = worker.router.only or turn.invoker(raw)
    attempts = worker.kept.made(raw)
    context = Context(worker, (raw,), worker.to_message, attempts + 1)
    try:
        id_ = seen.identify(context.message)
    except Exception as error:  # border: the user's function has failed, so its message has
        if invoker is None:
            return False
        worker.conclude(turn, raw, context, invoker.failed(error, attempts + 1, raw))
        return True
    if id_ is None:
        return False
    with worker.lock:
        is_done = seen.is_done(id_)
        if not is_done and seen.claim(id_, raw.offset()):
            return False
        patience = 0.0 if is_done else seen.patience(id_)
    if is_done:
        turn.pass_over(raw, context, REPEATED)
    else:
        # it is looked at again: that is no attempt
        worker.conclude(turn, raw, context, Outcome(Kind.RETRY, delay=patience, attempt=attempts))
    return True


def remember(worker: PartitionWorker, raw: Any, context: Context) -> None:
    """A message was handled: it is over when Kafka has its id."""
    seen = worker.seen
    assert seen is not None
    id_ = seen.claimed(raw.offset())
    if id_ is None:
        return
    before = len(context.sends or ())
    try:
        send: Any = worker.app.producer.send(seen.topic, b"", key=id_, partition=seen.partition, is_traced=False)
    except Exception as error:  # border: whatever refuses the id, the call counts as failed
        send = Refused(error)
    # inside the call the producer has done that
    if len(context.sends or ()) == before:
        context.track(send)
