"""Whether every partition of the delay topics has an owner: asked by the mover after it has joined.

A static member that comes back gets its old assignment. When it was killed in the middle of a rebalance that had
taken something away from it, that is nobody's then: the messages there would wait until the next rebalance.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from elsa.errors import ElsaError
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Collection

    from elsa.app import App
    from elsa.clock import Clock

log = logging.getLogger("elsa.delays")

#: how often it is looked until all have an owner
LOOK_SECONDS = 1.0
#: how long partitions may have no owner before the member leaves and joins anew
UNOWNED_SECONDS = 5.0


class Ownership:
    """Looks until every partition has an owner, then no more; belongs to the mover's thread."""

    def __init__(self, app: App, group: str, topics: Collection[str], clock: Clock) -> None:
        self._app = app
        self._group = group
        self._topics = topics
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """This process has joined (again): look."""
        self._is_settled = False
        self._looks_at = 0.0
        self._since: float | None = None

    def is_amiss(self) -> bool:
        """Whether to leave and join anew; true once, then everything begins again."""
        now = self._clock.monotonic()
        if self._is_settled or now < self._looks_at:
            return False
        self._looks_at = now + LOOK_SECONDS
        try:
            owned = self._app.groups.owned(self._group)
            counts = self._app.topics.list(internal=True)
        except ElsaError as error:
            log.info("who owns the delay topics is not known: %s", error, extra={"limit": "owners"})
            return False
        if owned is None:
            # a rebalance is under way
            self._since = None
            return False
        unowned = {TopicPartition(one, n) for one in self._topics for n in range(counts.get(one, 0))} - owned
        if not unowned:
            self._is_settled = True
            return False
        if self._since is None:
            # not all members at once: the first to leave triggers the rebalance that the others need
            self._since = now + random.uniform(0, 1)  # noqa: S311 - no secret
        if now - self._since < UNOWNED_SECONDS:
            return False
        log.warning(
            "partitions of delay topics have no owner: the mover leaves its group and joins anew",
            extra={"event": "partitions_unowned", "group": self._group, "partitions": len(unowned)},
        )
        self.begin()
        return True
