"""The schedules of one partition of the schedules' topic, in the hands of its owner: what is due, what is decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from elsa.policies.schedule import NEVER, decide
from elsa.schedules import state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from elsa.schedules.declared import Schedule

#: fire times of one schedule that go in one transaction
MOST_FIRES = 100
#: A schedule that this program does not declare is forgotten after that time. In a rolling deploy old and new programs
#: may own a shard in turn.
FORGET_MILLISECONDS = 3_600_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What one shard would send now, and what is to be remembered with it."""

    fires: list[tuple[Schedule, int]]
    missed: list[tuple[Schedule, int]]
    #: identity -> moment, of all schedules that are kept in mind
    through: Mapping[bytes, int]

    @property
    def metadata(self) -> str:
        return state.encode(self.through)


@dataclass(slots=True)
class Shard:
    """Belongs to the scheduler's thread; `known` is what its predecessor has left."""

    schedules: list[Schedule]
    known: Mapping[bytes, int]
    now: int
    _through: dict[bytes, int] = field(init=False)
    _next: dict[str, int] = field(init=False)
    #: something is to be remembered even if nothing is due
    is_new: bool = field(init=False)

    def __post_init__(self) -> None:
        # a schedule is seen for the first time: nothing fires for its past
        fresh = {one.identity: self.now for one in self.schedules if one.identity not in self.known}
        self.is_new = bool(fresh)
        self._through = {**self.known, **fresh}
        self._next = {one.name: one.rule.next(self._through[one.identity]) for one in self.schedules}

    @property
    def next(self) -> int:
        """When there is something to plan."""
        return 0 if self.is_new else min(self._next.values(), default=NEVER)

    def plan(self, now: int, held: Iterable[str] = (), most: int = MOST_FIRES) -> Plan | None:
        """What is due, of each schedule at most so many, of those held back none; None when there is nothing to do."""
        waiting = set(held)
        fires, missed = [], []
        through = dict(self._through)
        for schedule in self.schedules:
            if self._next[schedule.name] > now or schedule.name in waiting:
                continue
            decision = decide(
                schedule.rule,
                through=through[schedule.identity],
                now=now,
                limit=schedule.misfire_limit,
                most=most,
            )
            through[schedule.identity] = decision.through
            fires += [(schedule, moment) for moment in decision.fires]
            if decision.missed:
                missed.append((schedule, decision.missed))
        if through == self._through and not self.is_new:
            return None
        fires.sort(key=lambda fire: fire[1])
        declared = {one.identity for one in self.schedules}
        kept = {i: at for i, at in through.items() if i in declared or at >= now - FORGET_MILLISECONDS}
        return Plan(fires, missed, kept)

    def settle(self, plan: Plan) -> None:
        """The plan has been carried out, and is remembered."""
        self.is_new = False
        changed = [one for one in self.schedules if plan.through[one.identity] != self._through.get(one.identity)]
        self._through = dict(plan.through)
        for one in changed:
            self._next[one.name] = one.rule.next(self._through[one.identity])
