"""Replays or drops dead letters: copies and marks together in transactions, so that a run may end at any moment.

Called by DeadLetters. Whatever ends a run, a later one goes on with what is open: a copy is there for readers of
committed messages if and only if its dead letter is marked.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from elsa.dead_letters import copies
from elsa.dead_letters import marks as records
from elsa.dead_letters.destinations import NoWayBack
from elsa.errors import (
    AuthorizationFailed,
    BrokerUnavailable,
    ElsaError,
    FatalClientError,
    MessageTooLarge,
    TransactionAborted,
    TransactionFenced,
    UnknownPartition,
    UnknownTopic,
)
from elsa.trails import Trails

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping

    from elsa.clock import Clock
    from elsa.dead_letters.copies import Edit
    from elsa.dead_letters.destinations import Destination
    from elsa.dead_letters.letter import DeadLetter
    from elsa.dead_letters.marks import Marks
    from elsa.dead_letters.scan import Scan
    from elsa.kafka.transactions import TransactionalProducer

#: A transaction costs about 0.1 s whatever it holds, and what it holds is in memory.
MOST_LETTERS = 1_000
MOST_BYTES = 4 * 1024 * 1024
#: with a rate, one transaction holds what may go in so many seconds
RATE_SECONDS = 0.5
#: how long the broker may take for one step of a transaction
STEP_SECONDS = 10.0
#: how long it may take to get the transactional id
INIT_SECONDS = 3 * STEP_SECONDS
#: a transaction that is aborted is made again so often
MOST_ATTEMPTS = 5


@dataclass(slots=True)
class Result:
    """What a replay or a drop came to, or would come to (`is_dry`).

    `done` dead letters are replayed or dropped, by `targets` (topics; empty for a drop); `refused` are those that stay
    open, by reason. `is_interrupted` when it was stopped before its end; `uncertain` are those of a transaction of
    which nobody knows how it ended: the next run does. `purged` says for each partition below which offset all was
    deleted for good; `warnings` are what somebody should know of where they went.
    """

    done: int = 0
    targets: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    uncertain: int = 0
    purged: dict[int, int] = field(default_factory=dict)
    is_interrupted: bool = False
    is_dry: bool = False
    warnings: list[str] = field(default_factory=list)
    #: of how many offsets how many are behind it
    span: int = 0
    passed: int = 0

    @property
    def matched(self) -> int:
        """How many dead letters were meant."""
        return self.done + self.refused.total() + self.uncertain


@dataclass(slots=True)
class _Batch:
    """Dead letters of one transaction, with where they go (None: nowhere)."""

    letters: list[tuple[DeadLetter, Destination | None]] = field(default_factory=list)
    size: int = 0

    def add(self, letter: DeadLetter, where: Destination | None) -> None:
        self.letters.append((letter, where))
        if where is not None:
            self.size += len(letter.key or b"") + len(letter.value or b"")
            self.size += sum(len(value or b"") for _, value in letter.headers)


class Run:
    """One replay or drop; belongs to one thread, `stop` may be set by any.

    `destination` says where a dead letter goes, None for a drop; raises NoWayBack for one that stays. `producer` is
    None for a dry run, else it has its transactional id already, and `marks` were read after that. `read_marks` says
    what they are now.
    """

    def __init__(
        self,
        scan: Scan,
        *,
        destination: Callable[[DeadLetter], Destination] | None,
        edit: Edit,
        producer: TransactionalProducer | None,
        read_marks: Callable[[], dict[int, Marks]],
        ledger: str,
        topic_id: str,
        marks: dict[int, Marks],
        limit: int | None,
        rate: float | None,
        stop: threading.Event,
        progress: Callable[[Result], None],
        clock: Clock,
        trails: Trails | None = None,
    ) -> None:
        self._scan = scan
        self._destination = destination
        self._edit = edit
        self._producer = producer
        self._read_marks = read_marks
        self._ledger = ledger
        self._topic_id = topic_id
        self.marks = marks
        self._limit = limit
        self._rate = rate
        self._stop = stop
        self._progress = progress
        self._clock = clock
        self._trails = trails or Trails(None)
        self._next_at = clock.monotonic()
        self._most = MOST_LETTERS if rate is None else max(1, min(MOST_LETTERS, int(rate * RATE_SECONDS)))
        self.result = Result(is_dry=producer is None, span=scan.span)

    def __call__(self) -> Result:
        """Go through the scan; raises what a broker refuses. `progress` hears of it on the way and at the end."""
        try:
            self._go()
        except BaseException as error:
            self._trails.end(error)
            raise
        finally:
            self._tell()
        return self.result

    def _go(self) -> None:
        batch = _Batch()
        taken = 0
        for letter in self._scan.letters(self._tell):
            try:
                where = None if self._destination is None else self._destination(letter)
            except NoWayBack as reason:
                self._refuse(letter, str(reason))
                continue
            batch.add(letter, where)
            taken += 1
            if len(batch.letters) >= self._most or batch.size >= MOST_BYTES:
                self._flush(batch)
                batch = _Batch()
            if taken == self._limit:
                break
        if batch.letters or self._has_news():
            self._flush(batch)
        self.result.is_interrupted = self._stop.is_set()

    def _tell(self) -> None:
        self.result.passed = self._scan.passed
        self._progress(dataclasses.replace(self.result))

    def _refuse(self, letter: DeadLetter, reason: str) -> None:
        self._scan.leave(letter)
        self.result.refused[reason] += 1

    def _flush(self, batch: _Batch) -> None:
        """Carry a batch out, unless the run is to end."""
        if self._producer is not None:
            self._await_turn(len(batch.letters))
            if self._stop.is_set():
                return
            self._transact_patiently(batch)
        self.result.done += len(batch.letters)
        self.result.targets.update(where.topic for _, where in batch.letters if where is not None)
        self._tell()

    def _has_news(self) -> bool:
        """Whether more has turned out to be handled than is written down."""
        return self._producer is not None and self.result.done > 0 and self._marked(()) != self.marks

    def _await_turn(self, count: int) -> None:
        """Wait until so many may go by the rate, or the run is to end."""
        if self._rate is not None:
            self._stop.wait(max(0.0, self._next_at - self._clock.monotonic()))
            self._next_at = max(self._next_at, self._clock.monotonic()) + count / self._rate

    # -- transactions --------------------------------------------------------------------------------

    def _transact_patiently(self, batch: _Batch) -> None:
        attempts = 0
        while True:
            assert self._producer is not None
            try:
                try:
                    self._transact(self._producer, batch)
                except TransactionAborted as error:
                    self._trails.end(error)
                    self.result.uncertain = 0
                    attempts += 1
                    # asked before the abort, which fails everything that is still in the buffer
                    failures = self._producer.failures()
                    self._abort(self._producer)
                    refused = {mark: failure for failure, mark in failures if isinstance(failure, MessageTooLarge)}
                    self._raise_final(error, failures, batch)
                    self._take_out(batch, refused)
                    if not refused and attempts >= MOST_ATTEMPTS:
                        raise
                else:
                    return
            except TransactionFenced as error:
                raise self._overtaken(error.code) from error

    def _abort(self, producer: TransactionalProducer) -> None:
        """End the transaction."""
        if producer.recover(STEP_SECONDS, (FatalClientError, BrokerUnavailable)):
            return
        producer.init(INIT_SECONDS)
        if self._read_marks() != self.marks:
            # who has taken the transactional id over for a moment has lost it again now, but not its copies
            raise self._overtaken("PRODUCER_FENCED")

    def _overtaken(self, code: str) -> TransactionFenced:
        return TransactionFenced(
            f"another one has begun to replay or drop dead letters of {self._scan.topic!r}, so this one ends "
            f"(or Kafka was away for longer than {STEP_SECONDS:g} s)",
            code=code,
            topic=self._scan.topic,
            hint="wait for the other one, then say it again: what is done is not done twice",
        )

    def _raise_final(
        self, error: TransactionAborted, failures: Iterable[tuple[ElsaError, object]], batch: _Batch
    ) -> None:
        """Raise what would fail again, whatever is left out."""
        for failure, _ in failures:
            if isinstance(failure, AuthorizationFailed | UnknownTopic | UnknownPartition):
                raise failure
        if error.code == "TOPIC_AUTHORIZATION_FAILED":
            written = sorted({self._ledger, *(where.topic for _, where in batch.letters if where is not None)})
            raise AuthorizationFailed(
                f"an ACL on a topic is missing: {error}", code=error.code, hint=f"grant WRITE on {', '.join(written)}"
            ) from error

    def _take_out(self, batch: _Batch, refused: Mapping[object, ElsaError]) -> None:
        for letter, _ in batch.letters:
            if (error := refused.get(letter.place)) is not None:
                self._refuse(letter, str(error).splitlines()[0])
        batch.letters[:] = [pair for pair in batch.letters if pair[0].place not in refused]

    def _transact(self, producer: TransactionalProducer, batch: _Batch) -> None:
        producer.begin()
        too_large: dict[object, ElsaError] = {}
        for letter, where in batch.letters:
            if where is not None:
                try:
                    self._produce(producer, letter, where)
                except MessageTooLarge as error:  # the client itself will not take it
                    too_large[letter.place] = error
        self._take_out(batch, too_large)
        marks = self._marked(letter for letter, _ in batch.letters)
        for partition, after in marks.items():
            for key, value in records.records(self._topic_id, partition, self.marks[partition], after):
                producer.produce(self._ledger, value, key=key, partition=0)
        self.result.uncertain = len(batch.letters)
        producer.commit(STEP_SECONDS)
        self._trails.end()
        self.result.uncertain = 0
        self.marks = marks

    def _produce(self, producer: TransactionalProducer, letter: DeadLetter, where: Destination) -> None:
        # of a place in a delay topic nobody makes anything, and it would stand for the message if it dies again
        headers = copies.headers(letter.headers, self._edit, with_origin=not letter.is_delayed)
        headers, delivered = self._trails.begin(where.topic, headers)
        producer.produce(
            where.topic,
            letter.value,
            key=letter.key,
            headers=headers,
            partition=where.partition,
            mark=letter.place,
            delivered=delivered,
        )

    def _marked(self, letters: Iterable[DeadLetter]) -> dict[int, Marks]:
        """The marks once these are handled."""
        offsets: dict[int, list[int]] = {}
        for letter in letters:
            offsets.setdefault(letter.partition, []).append(letter.offset)
        return self.marks | {
            partition: self.marks[partition].handle(offsets.get(partition, ()), base)
            for partition, base in self._scan.bases().items()
        }
