"""What becomes of each message that is due: decided before its transaction begins; the session makes it happen."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elsa.delays.topics import undeliverable_topic
from elsa.policies import delay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elsa import headers as names
    from elsa.delays.cancelled import Cancelled
    from elsa.delays.targets import Targets
    from elsa.errors import ElsaError
    from elsa.message import TopicPartition
    from elsa.policies.delay import Hop

log = logging.getLogger("elsa.delays")

DELIVERED, PASSED_ON, POSTPONED = "delivered", "passed_on", "postponed"
CANCELLED, UNDELIVERABLE = "cancelled", "undeliverable"

#: A topic or partition that is not there may be so new that the broker that was asked has not heard of it: for so long
#: after a message was due it is looked for again.
ABSENCE_SECONDS = 30.0

#: a message that has been fetched, and the partition that it lies in
Due = tuple["TopicPartition", Any]
#: the same message by its place
Mark = tuple["TopicPartition", int]


@dataclass(frozen=True, slots=True)
class Move:
    """What happens to one message; `topic` None: it goes nowhere."""

    where: TopicPartition
    raw: Any
    outcome: str
    topic: str | None = None
    partition: int | None = None
    headers: names.Pairs | None = None
    has_body: bool = True
    #: when it was to be delivered, if it says so
    due: float | None = None

    @property
    def mark(self) -> Mark:
        return self.where, self.raw.offset()


@dataclass(slots=True)
class Refusal:
    """What is known of a message that was refused."""

    #: by where it was to go
    why: str | None = None
    #: how often as a dead letter
    letters: int = 0


class Refusals:
    """Messages that were refused; certain is only what is said of one that was alone in its transaction."""

    def __init__(self) -> None:
        #: to be moved alone
        self.suspects: dict[Mark, Refusal] = {}

    def suspect(self, mark: Mark) -> None:
        self.suspects.setdefault(mark, Refusal())

    def convict(self, move: Move, error: ElsaError) -> None:
        """It was alone: what was done with it cannot be done."""
        refusal = self.suspects.setdefault(move.mark, Refusal())
        if move.outcome == UNDELIVERABLE:
            refusal.letters += 1
        else:
            refusal.why = str(error)

    def offsets(self, where: TopicPartition) -> set[int]:
        """The suspects of one partition."""
        return {offset for place, offset in self.suspects if place == where}

    def settled(self, moves: Sequence[Move]) -> None:
        """These have gone somewhere."""
        if self.suspects:
            for move in moves:
                self.suspects.pop(move.mark, None)

    def forget(self, where: TopicPartition) -> None:
        """The partition is somebody else's now."""
        self.suspects = {mark: refusal for mark, refusal in self.suspects.items() if mark[0] != where}


class Planner:
    """Decides by what is known of targets, cancellations and refusals; belongs to the mover's thread."""

    def __init__(self, app: str, cancelled: Cancelled, targets: Targets, refusals: Refusals) -> None:
        self._app = app
        self._cancelled = cancelled
        self._targets = targets
        self._refusals = refusals
        self._letters = undeliverable_topic(app)

    def plan(self, due: Sequence[Due], now: float) -> list[Move]:
        """One move for each; asks for what is not known of the targets, and raises when no broker answers.

        They hold only if `Cancelled` is complete afterwards.
        """
        hops = [delay.next_hop(raw.headers() or (), now=now, app=self._app) for _, raw in due]
        own = {self._letters, self._cancelled.topic}
        self._targets.look_up({hop.topic for hop in hops if hop is not None and hop.is_last} | own)
        self._cancelled.grow(self._targets.partitions(self._cancelled.topic))
        return [self._decide(where, raw, hop, now) for (where, raw), hop in zip(due, hops, strict=True)]

    def _decide(self, where: TopicPartition, raw: Any, hop: Hop | None, now: float) -> Move:
        if hop is None:
            return self._bury(where, raw, "it does not say when and where it is to be delivered", now)
        if self._cancelled.has(hop.headers):
            return Move(where, raw, CANCELLED)
        refused = self._refusals.suspects.get((where, raw.offset()))
        if refused is not None and refused.why is not None:
            return self._bury(where, raw, refused.why, now)
        due = delay.due_at(hop.headers)
        if not hop.is_last:
            return Move(where, raw, PASSED_ON, hop.topic, None, hop.headers, due=due)
        if (why := self._targets.refusal(hop.topic)) is not None:
            return self._bury(where, raw, why, now)
        if (why := self._targets.absence(hop.topic, hop.partition)) is not None:
            is_given_up = due is None or now - due >= ABSENCE_SECONDS
            return self._bury(where, raw, why, now) if is_given_up else self._postpone(where, raw, why, now)
        if (why := self._targets.obstacle(hop.topic, hop.partition)) is not None:
            return self._postpone(where, raw, why, now)
        return Move(where, raw, DELIVERED, hop.topic, hop.partition, hop.headers, due=due)

    def _postpone(self, where: TopicPartition, raw: Any, why: str, now: float) -> Move:
        """Another try later, so that what comes behind it need not wait."""
        log.warning(
            "a delayed message is tried again later: %s",
            why,
            extra={"event": "delay_postponed", "app": self._app, "limit": (POSTPONED, why)},
        )
        headers = raw.headers() or []
        due = delay.due_at(headers)
        return Move(where, raw, POSTPONED, delay.postponed(due, now=now, app=self._app), None, headers, due=due)

    def _bury(self, where: TopicPartition, raw: Any, why: str, now: float) -> Move:
        """What cannot be delivered is kept with the reason; without its body where the dead letters refuse it."""
        refused = self._refusals.suspects.get((where, raw.offset()))
        letters = refused.letters if refused is not None else 0
        obstacle = self._targets.refusal(self._letters) or self._targets.obstacle(self._letters, None)
        if obstacle is not None or letters > 1:
            return self._postpone(where, raw, obstacle or why, now)
        log.warning(
            "a delayed message cannot be delivered and is kept in %s: %s",
            self._letters,
            why,
            extra={"event": "delay_undeliverable", "app": self._app, "limit": (UNDELIVERABLE, why)},
        )
        origin = f"{where.topic}:{where.partition}:{raw.offset()}"
        headers = delay.undeliverable(raw.headers() or (), why=why, origin=origin, is_stub=letters > 0)
        return Move(where, raw, UNDELIVERABLE, self._letters, None, headers, has_body=letters == 0)


def outcomes(moves: Sequence[Move]) -> Counter[str]:
    """How many messages came to what."""
    return Counter(move.outcome for move in moves)
