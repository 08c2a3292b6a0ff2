"""Makes a shard of what its last owner has left, and says what is odd about that; called when a partition arrives."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from elsa.policies.schedule import iso, moment
from elsa.schedules import state
from elsa.schedules.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.message import TopicPartition
    from elsa.schedules.declared import Schedule

log = logging.getLogger("elsa.schedules")

#: clocks of two machines may differ by so much without a word
AHEAD_MILLISECONDS = 60_000


def inherit(where: TopicPartition, group: str, metadata: str, schedules: Sequence[Schedule], seconds: float) -> Shard:
    """The schedules of one partition as its commit has them, at a time in seconds; empty metadata is a first start."""
    now = moment(seconds)
    known = state.decode(metadata) if metadata else {}
    if known is None:
        log.warning(
            "what the commit of %s says of schedules cannot be read, they begin anew",
            where.topic,
            extra={"event": "schedules_unreadable", "topic": where.topic, "partition": where.partition},
        )
    _tell_ahead(group, known or {}, schedules, now)
    return Shard(list(schedules), known or {}, now)


def _tell_ahead(group: str, known: Mapping[bytes, int], schedules: Sequence[Schedule], now: int) -> None:
    """Say which do not fire for a while: what was fired by a clock that was ahead must not come a second time.

    It is not taken back: that it was that clock and not this one that is wrong, nobody here can know.
    """
    for one in schedules:
        through = known.get(one.identity, 0)
        if through > now + AHEAD_MILLISECONDS:
            log.warning(
                "schedule %s does not fire before %s: it was decided until then by a clock that was ahead of this one",
                one.name,
                iso(through),
                extra={
                    "event": "schedule_ahead",
                    "schedule": one.name,
                    "hint": "look at the clocks; to begin anew now, give it another name, or stop the workers and "
                    f"`elsa groups delete {group}`",
                    "limit": ("ahead", one.name),
                },
            )
