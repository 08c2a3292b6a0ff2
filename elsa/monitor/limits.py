"""Judges groups against limits; pure, for `elsa lag --check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from elsa.monitor.grades import worst

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from elsa.monitor.grades import Grade, Key
    from elsa.monitor.look import GroupState


@dataclass(frozen=True, slots=True)
class Limits:
    """What a group may come to: messages of all its partitions, the age of its oldest message, no grade but ok."""

    messages: int | None = None
    age_seconds: float | None = None
    is_graded: bool = False

    def __bool__(self) -> bool:
        return self.messages is not None or self.age_seconds is not None or self.is_graded


@dataclass(frozen=True, slots=True)
class Excess:
    """A group that is over a limit, or (`is_unknown`) of which that cannot be said."""

    group: str
    text: str
    is_unknown: bool = False


def excesses(limits: Limits, groups: Iterable[GroupState], grades: Mapping[Key, Grade]) -> list[Excess]:
    """Everything that is over a limit, group by group."""
    found = []
    for group in groups:
        if limits.messages is not None and group.lag > limits.messages:
            found.append(Excess(group.name, f"{group.lag} messages behind, {limits.messages} are allowed"))
        if limits.age_seconds is not None:
            found += _too_old(limits.age_seconds, group)
        if limits.is_graded:
            found += _graded(group, grades)
    return found


def _too_old(allowed: float, group: GroupState) -> list[Excess]:
    oldest = group.oldest_seconds
    if oldest is not None and oldest > allowed:
        return [Excess(group.name, f"its oldest message has waited for {oldest:.1f} s, {allowed:g} s are allowed")]
    unread = [each for each in group.partitions if each.lag_seconds is None]
    if not unread:
        return []
    where = f"{unread[0].topic}[{unread[0].partition}]"
    more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
    return [Excess(group.name, f"how old the messages of {where}{more} are could not be read", is_unknown=True)]


def _graded(group: GroupState, grades: Mapping[Key, Grade]) -> list[Excess]:
    own = {f"{topic}[{partition}]": grade for (name, topic, partition), grade in grades.items() if name == group.name}
    bad = worst(own.values())
    if bad == "ok":
        return []
    where = [place for place, grade in own.items() if grade == bad]
    more = f" and {len(where) - 1} more" if len(where) > 1 else ""
    return [Excess(group.name, f"{bad} in {where[0]}{more}")]
