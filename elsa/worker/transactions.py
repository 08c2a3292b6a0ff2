"""Transactions of one group manager: what calls have sent and the offsets of their messages, together or not at all.

`Transactions` belongs to the group manager's thread: it collects what is finished and hands it over, one transaction at
a time. `Transactor` is a thread with a transactional producer: it does what takes time, and posts how it ended. When a
transaction is aborted, every partition that has anything uncommitted begins anew where the broker says: what was
finished since then is handled again, and nobody ever reads what it has sent.
"""

from __future__ import annotations

import functools
import logging
import queue
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from elsa.context import drop
from elsa.errors import ElsaError, FatalClientError, TransactionFenced, name_of
from elsa.kafka.transactions import TransactionalProducer, is_verdict
from elsa.policies.backoff import Backoff
from elsa.worker import traced
from elsa.worker.mailbox import TransactionEnded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from elsa.app import App
    from elsa.delivery import HeldSend
    from elsa.kafka.membership import Proof
    from elsa.message import TopicPartition
    from elsa.outcome import Outcome
    from elsa.worker.acknowledger import Commit
    from elsa.worker.assigned import Assigned
    from elsa.worker.group import GroupManager

log = logging.getLogger("elsa.worker")

#: a transaction costs about as long, however much is in it
PERIOD_SECONDS = 0.1
#: the broker aborts one that its producer does not end
_TIMEOUT_SECONDS = 20.0
_CALL_SECONDS = 10.0
#: after several messages were refused together, so many transactions send them one by one
_CAREFUL = 20
#: how long the last one may take when partitions go
_LAST_SECONDS = 3.0
#: how long the mailbox is waited for meanwhile
_WAIT_SECONDS = 0.02


class Entry(NamedTuple):
    """A send, the messages of the call that made it, and what that came to."""

    assigned: Assigned
    offsets: Sequence[int]
    send: HeldSend
    call: Outcome


@dataclass(eq=False)
class Batch:
    """One transaction."""

    sends: list[Entry]
    commits: dict[TopicPartition, tuple[Assigned, Commit]]
    membership: Proof | None = None
    reports: list[tuple[Any, Any]] = field(default_factory=list)


def _give_up(entries: Sequence[Entry], error: BaseException | None = None) -> None:
    """Nobody will ever read these: their calls are made again."""
    drop((entry.send for entry in entries), error)
    traced.over(entry.call for entry in entries)


def _note(batch: Batch, delivery: Any, message: Any) -> None:
    batch.reports.append((delivery, message))


class Transactions:
    """What is finished and not committed yet, and the transaction that is under way."""

    def __init__(self, manager: GroupManager, *, most: int) -> None:
        self._manager = manager
        self._most = most
        self._sends: list[Entry] = []
        self._dirty: dict[TopicPartition, Assigned] = {}
        self._finished = 0
        self._under_way: Batch | None = None
        self._next = 0.0
        self._transactor: Transactor | None = None
        self._callbacks: list[Callable[[], None]] = []

    # -- what is finished ----------------------------------------------------------------------------

    def add(self, assigned: Assigned, offsets: Sequence[int], sends: Sequence[HeldSend], call: Outcome) -> None:
        """A call is done, and has sent this."""
        self._sends += [Entry(assigned, tuple(offsets), send, call) for send in sends]
        self._dirty[assigned.partition] = assigned

    def note(self, assigned: Assigned, messages: int) -> None:
        """So many messages of a partition are finished, or something else is to be committed."""
        if assigned.held == "restarting" or assigned.is_rolled_back:
            # what is finished after its transaction was aborted, or its worker has crashed, is handled again
            return
        self._finished += messages
        if assigned.tracker.version != assigned.version_committed:
            self._dirty[assigned.partition] = assigned

    @property
    def is_behind(self) -> bool:
        """Whether nothing more may run, because too much is finished and not committed."""
        return self._finished >= self._most

    def holds(self, assigned: Assigned) -> bool:
        """Whether something of a partition is neither committed nor given up."""
        batch = self._under_way
        return assigned.partition in self._dirty or (batch is not None and assigned.partition in batch.commits)

    def when_done(self, call: Callable[[], None]) -> None:
        """Call this after the next transaction."""
        self._callbacks.append(call)

    # -- transactions ----------------------------------------------------------------------------------

    def tick(self, now: float, *, at_once: bool = False) -> None:
        """Hand a transaction over when it is time."""
        if self._under_way is not None or not self._dirty or (now < self._next and not at_once):
            return
        manager = self._manager
        proof = manager.consumer.proof()
        if proof is None:
            # between two memberships
            return
        owned = manager.assignment.owned
        commits = {}
        for partition, assigned in self._dirty.items():
            if owned.get(partition) is assigned and (commit := assigned.commit()) is not None:
                commits[partition] = (assigned, commit)
        sends, self._sends, self._dirty, self._finished = self._sends, [], {}, 0
        if not commits and not sends:
            # nothing of it is to be written: whoever waits for that need not wait
            self._call_back()
            return
        self._next = now + PERIOD_SECONDS
        self._begin(Batch(sends, commits, proof))

    def _begin(self, batch: Batch) -> None:
        manager = self._manager
        self._under_way = batch
        if self._transactor is None:
            self._transactor = Transactor(manager.app, manager.transactional_id, manager.mailbox.put)
        self._transactor.put(batch)

    def ended(self, news: TransactionEnded) -> None:
        """The transaction that was under way has ended."""
        batch = news.batch
        assert batch is self._under_way
        self._under_way = None
        manager = self._manager
        if news.error is None:
            offsets = {}
            for partition, (assigned, commit) in batch.commits.items():
                assigned.confirm(commit)
                offsets[partition] = commit.offset
            traced.over(entry.call for entry in batch.sends)
            manager.observer.committed("ok", manager.clock.monotonic() - self._next + PERIOD_SECONDS, offsets)
        else:
            manager.observer.committed("error", 0.0, {})
            text = f"a transaction was aborted, its messages are handled again: {news.error}"
            manager.trouble.report(name_of(news.error), text)
            told = set()
            for error, entry in news.refused:
                if entry.assigned.mishaps.refuse(entry.offsets, error, entry.call):
                    told.add(id(entry.call))
            traced.over(entry.call for entry in batch.sends if id(entry.call) not in told)
            self._roll_back(batch, news.error)
        self._call_back()

    def _call_back(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for call in callbacks:
            call()

    def _roll_back(self, batch: Batch, error: BaseException) -> None:
        affected = {assigned for assigned, _ in batch.commits.values()} | set(self._dirty.values())
        affected |= {entry.assigned for entry in self._sends}
        _give_up(self._sends, error)
        self._sends, self._dirty, self._finished = [], {}, 0
        for assigned in affected:
            self._manager.revival.roll_back(assigned)

    # -- partitions go ---------------------------------------------------------------------------------

    def finish(self, partitions: Sequence[TopicPartition], deadline: float) -> None:
        """Commit everything of these partitions that is finished, and wait for it."""
        manager = self._manager
        owned = manager.assignment.owned
        ours = [owned[partition] for partition in partitions if owned[partition].is_transactional]
        end = max(deadline, manager.clock.monotonic() + _LAST_SECONDS)
        while any(self.holds(assigned) for assigned in ours):
            now = manager.clock.monotonic()
            if now >= end:
                return
            self.tick(now, at_once=True)
            manager.read(manager.mailbox.wait(_WAIT_SECONDS))

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions are not ours any more: what is left of them was not committed, and nobody reads it."""
        gone = set(partitions)
        left = [entry for entry in self._sends if entry.assigned.partition in gone]
        self._sends = [entry for entry in self._sends if entry.assigned.partition not in gone]
        for partition in gone:
            self._dirty.pop(partition, None)
        if not self._dirty:
            self._finished = 0
        _give_up(left)

    def close(self) -> None:
        """End the thread; what it has under way is given up."""
        if self._transactor is not None:
            self._transactor.close()


class Transactor:
    """Makes one transaction after the other, in a thread of its own."""

    def __init__(self, app: App, transactional_id: str, post: Callable[[Any], None]) -> None:
        self._app = app
        self._id = transactional_id
        self._post = post
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._producer: TransactionalProducer | None = None
        #: in so many transactions each message goes by itself
        self._careful = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._main, name=f"elsa-{transactional_id}", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Make this transaction, and post a TransactionEnded."""
        self._queue.put(batch)

    def close(self) -> None:
        """End soon."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join(_LAST_SECONDS)

    def _main(self) -> None:
        try:
            while (batch := self._queue.get()) is not None:
                self._post(self._make(batch))
        finally:
            if self._producer is not None:
                self._producer.close()

    def _make(self, batch: Batch) -> TransactionEnded:
        try:
            self._run(batch)
        except Exception as error:  # border: however it failed, its messages are handled again
            refused = self._abort(error)
            drop((entry.send for entry in batch.sends), error)
            return TransactionEnded(batch, error, refused)
        for delivery, report in batch.reports:
            delivery(None, report)
        return TransactionEnded(batch, None)

    def _run(self, batch: Batch) -> None:
        producer = self._producer
        if producer is None:
            producer = self._connect()
        is_careful, self._careful = self._careful > 0, max(0, self._careful - 1)
        producer.begin()
        for entry in batch.sends:
            send = entry.send
            producer.produce(
                send.topic,
                send.value,  # type: ignore[arg-type]  # the client takes text as well
                key=send.key,  # type: ignore[arg-type]  # as above
                headers=send.headers,
                partition=send.partition,
                timestamp=send.timestamp,
                mark=entry,
                delivered=functools.partial(_note, batch, send.delivery),
            )
            if is_careful:
                producer.flush(_CALL_SECONDS)
        assert batch.membership is not None
        commits = {partition: commit for partition, (_, commit) in batch.commits.items()}
        if commits:
            producer.send_offsets(commits, batch.membership, _CALL_SECONDS)
        producer.commit(_TIMEOUT_SECONDS)

    def _connect(self) -> TransactionalProducer:
        producer = TransactionalProducer(
            self._app.settings, self._id, timeout=_TIMEOUT_SECONDS, on_throttled=self._app.observer.throttled
        )
        try:
            producer.init(_CALL_SECONDS)
        except Exception:
            producer.close()
            raise
        self._producer = producer
        return producer

    def _abort(self, error: BaseException) -> list[tuple[BaseException, Entry]]:
        """Make sure that nothing of the transaction is left open; what the brokers have refused of it."""
        producer = self._producer
        refused: list[tuple[BaseException, Entry]] = []
        if producer is not None:
            refused = [(why, mark) for why, mark in producer.failures() if mark is not None and is_verdict(why)]
            if len(refused) > 1:
                # a broker refuses all that comes in one request: the next time it will be known which
                refused, self._careful = [], _CAREFUL
            can_abort = isinstance(error, ElsaError) and not isinstance(error, TransactionFenced | FatalClientError)
            # border: whatever keeps it from being aborted, a new producer will find out how it ended
            if can_abort and producer.recover(_CALL_SECONDS, (Exception,)):
                return refused
            producer.close()
            self._producer = None
        if isinstance(error, TransactionFenced):
            # somebody else has our name: two that take it from each other would never get on
            self._id = f"{self._id}-{secrets.token_hex(3)}"
        self._settle_open()
        return refused

    def _settle_open(self) -> None:
        """Whether it was committed is not known: the same name's next producer ends it one way or the other."""
        backoff = Backoff(first=0.5, most=10.0)
        while not self._closing.is_set():
            try:
                self._connect()
            except Exception as error:  # border: no broker answers
                pause = backoff.next()
                log.warning(
                    "the transactional producer cannot connect, its partitions wait",
                    extra={"event": "transactor_waits", "error": str(error), "retry_in_seconds": round(pause, 1)},
                )
                self._closing.wait(pause)
            else:
                return
