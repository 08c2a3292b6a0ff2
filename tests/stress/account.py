"""The account of a run: what became of every message that Kafka has confirmed. Pure; made-up records test it."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tests.stress.journal import DONE, LOST

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tests.stress.journal import Handled
    from tests.stress.kinds import Kind

#: how long before a worker or a broker went, and after it came back, work may be repeated because of that: what was
#: in progress, what was not committed, and the time that a group needs for a rebalance without its coordinator
SLACK_SECONDS = 15.0
#: a broker that is back takes its groups over again within this time
COORDINATOR_SECONDS = 5.0
#: a worker that was away longer than its session hears of it within this time after it is back
FENCED_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that takes the chance to commit away: from one worker, or from all of them (None).

    `fences`: it lasted longer than the session, so the group has given the partitions to others.
    """

    what: str
    begins: float
    ends: float
    worker: int | None = None
    fences: bool = False

    def covers(self, record: Handled, *, anywhere: bool = False) -> bool:
        """Whether a message that was handled then and there may be handled again; `anywhere`: by whomever."""
        is_there = anywhere or self.worker is None or self.worker == record.worker
        return is_there and self.begins - SLACK_SECONDS <= record.at <= self.ends + SLACK_SECONDS


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run has found out about one kind.

    `confirmed` and `rejects` are numbers, `dead` those of the dead letters with repetitions, `began` and `ended` the
    time of the stream.
    """

    confirmed: Collection[int]
    rejects: Collection[int]
    handled: Sequence[Handled]
    dead: Sequence[int]
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Line:
    """The account of one kind; counts of messages, `longest_stall` in seconds.

    `unexplained`: duplicates where nothing was killed, stopped or cut. `wrong_dead`: dead letters that should have
    been handled, and `wrong_handled` the other way round. A stall is a time without a call in a partition.
    """

    kind: str
    produced: int
    handled: int
    duplicates: int
    unexplained: int
    lost: int
    out_of_order: int
    dead_letters: int
    dead_duplicates: int
    wrong_dead: int
    wrong_handled: int
    longest_stall: float
    #: the numbers behind `lost`, `unexplained` and `out_of_order`, the first few
    examples: Mapping[str, list[int]] = field(default_factory=dict)

    @property
    def complaints(self) -> list[str]:
        """What breaks a promise."""
        broken = {
            "lost": self.lost,
            "handled again where nothing had failed": self.unexplained,
            "out of order": self.out_of_order,
            "dead letters without a reason": self.wrong_dead,
            "handled though they were rejected": self.wrong_handled,
        }
        return [f"{self.kind}: {count} {what}" for what, count in broken.items() if count]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def settle(kind: Kind, found: Evidence, troubles: Sequence[Trouble] = ()) -> Line:
    """The account of one kind."""
    done = sorted((r for r in found.handled if r.what == DONE), key=lambda record: record.at)
    calls: dict[int, list[Handled]] = defaultdict(list)
    for record in done:
        calls[record.number].append(record)
    dead = Counter(found.dead)
    lost = sorted(n for n in found.confirmed if n not in calls and n not in dead)
    repeated = {number: records for number, records in calls.items() if len(records) > 1}
    # of the attempts that failed nothing is known: those who made them may be in trouble, too
    unexplained = sorted(
        n for n, records in repeated.items() if kind.is_exact or not _explained(records, troubles, kind.is_moved)
    )
    disorder = _disorder(done) if kind.is_ordered else []
    rejects = set(found.rejects)
    return Line(
        kind=kind.name,
        produced=len(found.confirmed),
        handled=len(calls),
        duplicates=sum(len(records) - 1 for records in repeated.values()),
        unexplained=len(unexplained),
        lost=len(lost),
        out_of_order=len(disorder),
        dead_letters=len(dead),
        dead_duplicates=dead.total() - len(dead),
        wrong_dead=len(dead.keys() - rejects),
        wrong_handled=len(calls.keys() & rejects),
        longest_stall=round(_stall(done, found.began, found.ended), 2),
        examples={"lost": lost[:20], "unexplained": unexplained[:20], "out_of_order": disorder[:20]},
    )


def unfinished(found: Evidence) -> int:
    """How many messages nothing has become of yet."""
    known = {record.number for record in found.handled if record.what == DONE}.union(found.dead)
    return sum(number not in known for number in found.confirmed)


def zombies(troubles: Sequence[Trouble]) -> list[Trouble]:
    """Workers that were away longer than their session.

    Not those that were away while a broker went or came: it may have been their coordinator, and the next one gives
    everybody a whole session from then on.
    """
    brokers = [trouble for trouble in troubles if trouble.worker is None]
    return [
        trouble
        for trouble in troubles
        if trouble.fences
        and not any(
            broker.begins <= trouble.ends and trouble.begins <= broker.ends + COORDINATOR_SECONDS for broker in brokers
        )
    ]


def expelled(records: Iterable[Handled]) -> list[Trouble]:
    """Whenever a worker was told that its partitions are others', what it had not committed comes again."""
    return [Trouble("lost", record.at, record.at, record.worker) for record in records if record.what == LOST]


def unfenced(records: Iterable[Handled], troubles: Sequence[Trouble]) -> list[Trouble]:
    """Those who were never told that their partitions are others'."""
    told = [record for record in records if record.what == LOST]
    return [
        trouble
        for trouble in zombies(troubles)
        if not any(
            record.worker == trouble.worker and trouble.begins <= record.at <= trouble.ends + FENCED_SECONDS
            for record in told
        )
    ]


def _explained(records: Sequence[Handled], troubles: Sequence[Trouble], anywhere: bool) -> bool:  # noqa: FBT001 - one caller
    """Whether one of those who handled it was in trouble then."""
    return any(trouble.covers(record, anywhere=anywhere) for record in records for trouble in troubles)


def _disorder(done: Sequence[Handled]) -> list[int]:
    """Numbers that were handled for the first time after a higher one of their lane."""
    highest: dict[int, int] = {}
    seen: set[int] = set()
    found = []
    for record in done:
        if record.number in seen:
            continue
        seen.add(record.number)
        if record.number < highest.get(record.lane, -1):
            found.append(record.number)
        highest[record.lane] = max(record.number, highest.get(record.lane, -1))
    return found


def _stall(done: Sequence[Handled], began: float, ended: float) -> float:
    """The longest time without a call in a partition, from its first call to the end of the stream."""
    moments: dict[int, list[float]] = defaultdict(list)
    for record in done:
        if began <= record.at <= ended:
            moments[record.partition].append(record.at)
    return max((b - a for each in moments.values() for a, b in itertools.pairwise([*each, ended])), default=0.0)
