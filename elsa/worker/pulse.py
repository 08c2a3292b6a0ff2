"""What a group manager leaves behind for those who judge whether it is well: when it polled, how its join stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.clock import Clock

#: join states of librdkafka that say nothing: joined, or waiting for Kafka or for topics
_AT_REST = ("steady", "init", "wait-metadata")
#: clients that fail fatally within this time of each other are one row
FATAL_SECONDS = 60.0


class Fatal(NamedTuple):
    """Clients that failed for good since the group was last joined; monotonic seconds."""

    first: float
    last: float
    text: str


class Pulse:
    """Written by the group manager's thread, read by any: each fact is replaced as a whole."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: when the thread came round last, monotonic
        self.polled_at = clock.monotonic()
        #: a client was made
        self.has_client = False
        #: partitions (or the word that there are none) have come at least once
        self.was_assigned = False
        #: the group has put it out, and not taken it in again
        self.is_out = False
        #: a join state that is not at rest, and since when
        self.frozen: tuple[str, float] | None = None
        self.fatal: Fatal | None = None

    def renewed(self) -> None:
        """There is a new client, which has not begun to join."""
        self.has_client, self.frozen = True, None

    def polled(self) -> None:
        """The thread has come round."""
        self.polled_at = self._clock.monotonic()

    def assigned(self) -> None:
        """The group has taken it in: what broke before is mended."""
        self.was_assigned = True
        self.fatal = None

    def thrown_out(self) -> None:
        """The group goes on without this member, which joins anew."""
        self.is_out = True

    def let_in(self) -> None:
        """It is a member, with partitions or without."""
        self.is_out = False

    def failed(self, text: str) -> None:
        """A client is beyond repair."""
        now, before = self._clock.monotonic(), self.fatal
        # failures that lie far apart are no row: Kafka may have been away in between
        is_next = before is not None and now - before.last <= FATAL_SECONDS
        self.fatal = Fatal(before.first if before is not None and is_next else now, now, text)

    def heard(self, statistics: Mapping[str, Any]) -> None:
        """Librdkafka's statistics; while the coordinator does not answer, no join stands still."""
        group = statistics.get("cgrp") or {}
        state = str(group.get("join_state", "init"))
        if state in _AT_REST and group.get("state") == "up":
            # also one that was not thrown out: the client gives all up as lost when the last of its topics is gone
            self.let_in()
        if state in _AT_REST or group.get("state") != "up":
            self.frozen = None
        elif self.frozen is None or self.frozen[0] != state:
            self.frozen = state, self._clock.monotonic()
