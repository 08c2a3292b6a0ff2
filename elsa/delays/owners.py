"""Finds partitions of the delay topics that no mover has; the session asks it between its turns.

A static member that comes back gets its old assignment, without a rebalance: partitions that were added meanwhile, or
that a member has left behind, would stay without an owner.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from elsa.errors import BrokerUnavailable, ElsaError
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.delays.session import Surroundings

log = logging.getLogger("elsa.delays")

#: how long partitions may have no owner before a static member leaves and joins anew
UNOWNED_SECONDS = 5.0


class Owners:
    """Of one session, in the mover's thread; times are monotonic seconds."""

    def __init__(self, around: Surroundings, partitions: Mapping[str, int], *, is_static: bool) -> None:
        self._around = around
        self._is_static = is_static
        #: how many the delay topics and the cancelled topic have
        self.partitions = dict(partitions)
        self._looks_at = float("inf")
        self._were_missing = False

    def look_soon(self, now: float) -> None:
        """An assignment has come: when everybody has theirs, it is looked whether anything is left over."""
        self._looks_at = now + UNOWNED_SECONDS

    def compare(self, now: float) -> None:
        """Look whether the delay topics have more partitions now."""
        try:
            found = self._around.topics.writable(list(self._around.seconds))
        except BrokerUnavailable:
            return
        counts = {topic: answer.partitions for topic, answer in found.items() if answer.refusal is None}
        if any(self.partitions.get(topic) != count for topic, count in counts.items()):
            self.partitions |= counts
            self._looks_at = now

    def are_missing(self, now: float) -> bool:
        """Whether partitions have no owner for good, so that this static member has to leave and join anew."""
        if now < self._looks_at:
            return False
        self._looks_at = float("inf")
        if not self._is_static:
            return False
        try:
            owned = self._around.owned(self._around.group)
        except ElsaError:
            owned = None
        wanted = {TopicPartition(t, n) for t in self._around.seconds for n in range(self.partitions.get(t, 0))}
        if owned is not None and wanted <= owned:
            self._were_missing = False
            return False
        # looked at again: a rebalance may have been under way
        self._looks_at = now + UNOWNED_SECONDS
        if owned is None or not self._were_missing:
            self._were_missing = owned is not None
            return False
        self._were_missing = False
        log.warning(
            "partitions of delay topics have no owner: the mover leaves its group and joins anew",
            extra={"event": "partitions_unowned", "group": self._around.group, "partitions": len(wanted - owned)},
        )
        return True
