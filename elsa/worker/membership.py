"""How a group manager comes by its partitions: as a member of a group, or by assigning them to itself.

Everything here runs on the group manager's thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from typing import TYPE_CHECKING

from elsa.errors import name_of
from elsa.kafka.consumer import GroupConsumer
from elsa.kafka.membership import FENCED_HINT
from elsa.message import TopicPartition
from elsa.worker import starts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.errors import ElsaError
    from elsa.worker.group import GroupManager
    from elsa.worker.surroundings import Surroundings

log = logging.getLogger("elsa.worker")

#: how long a leave may take before the client is closed anyhow
LEAVE_SECONDS = 1.0
#: after the partitions are given up, the leave itself is still to be sent
LEAVE_GRACE_SECONDS = 0.1
#: partitions come with the answer that lets a KIP-848 member in, or soon after it; else it has none for now
SILENT_SECONDS = 2.0


class GroupMembership:
    """Subscribes, reacts to rebalances, leaves; and mends what a static member's rejoin does not see.

    A static member that comes back gets its OLD assignment, also when its topics or their partition counts
    have changed meanwhile (Kafka 4.4, measured). So the slot keeps a digest of both; when it differs at
    start, or when partitions of our topics stay without an owner, the member leaves and joins anew.
    """

    def __init__(self, manager: GroupManager, around: Surroundings) -> None:
        self._manager = manager
        self._around = around
        self._settings = around.app.settings
        self._clock = around.clock
        self._instance = around.instance
        self.subscribed: list[str] = []
        self._topics: Mapping[str, int] = {}
        self._missing: set[str] = set()
        #: what the client was asked for; behind `subscribed` while the group lets this member in
        self._asked: list[str] = []
        self._is_joined = False
        #: since when the group has counted a member in that has not been told so
        self._is_in_since: float | None = None
        self._has_left = False
        self.wants_rejoin = False
        self._was_fenced = False
        self._digest: str | None = None
        #: the watcher has seen that all partitions of our topics have an owner
        self.is_verified = False

    @property
    def is_unverified(self) -> bool:
        """Whether the watcher is to look if all partitions of our topics have an owner: a static member's matter."""
        return self._is_static and not self.is_verified

    @property
    def _is_static(self) -> bool:
        return self._instance is not None and self._settings.group_protocol == "classic"

    def make_consumer(self) -> GroupConsumer:
        manager = self._manager
        self._was_fenced = False
        return GroupConsumer(
            self._settings,
            manager.group,
            instance=self._instance if self._is_static else None,
            on_assign=manager.trouble.guarded(self._assigned),
            on_revoke=manager.trouble.guarded(manager.handover.revoked),
            on_lost=manager.trouble.guarded(manager.handover.lost),
            on_commit=manager.commits.answered,
            on_error=self._error,
            on_statistics=manager.statistics,
            on_throttled=manager.app.observer.throttled,
        )

    def join(self) -> None:
        """Subscribe to what is known; the first list of topics says which retry topics there are, and which matches.

        A subscription that begins with less would be changed a moment later, which is one more rebalance.
        """
        self._is_joined = False
        self._asked = []
        if self.subscribed:
            self._ask()

    def _subscribe(self, topics: list[str]) -> None:
        """Librdkafka 2.16 ends the process (an assertion) when this changes while a new member waits to be let in."""
        self.subscribed = topics
        self.is_verified = False
        if self._is_joined or not self._asked:
            self._ask()

    def _ask(self) -> None:
        self._asked = self.subscribed
        self._manager.consumer.subscribe(self.subscribed)

    # -- rebalances, inside the client's callbacks -----------------------------------------------------

    def _assigned(self, partitions: list[TopicPartition]) -> None:
        manager = self._manager
        if partitions:
            routes = manager.routes
            bindings = routes.served(partitions)
            begins = starts.resolve_patiently(manager.consumer, bindings, manager.group, routes, self._clock)
            manager.handover.take(begins)
        self._let_in()

    def _let_in(self) -> None:
        self._is_joined, self._is_in_since = True, None
        self._manager.pulse.let_in()
        self._manager.is_ready = True

    def _notice(self, now: float) -> None:
        """See whether a KIP-848 member is in: one that gets no partition is not called back (librdkafka 2.16)."""
        if (self._manager.consumer.generation() or 0) <= 0:
            self._is_in_since = None
        elif self._is_in_since is None:
            self._is_in_since = now
        elif now - self._is_in_since >= SILENT_SECONDS:
            self._let_in()

    def gave_up(self, *, has_some: bool, is_lost: bool = False) -> None:
        """Partitions were given up; a leave is over when none is left. Who has lost them joins as a new member."""
        self._has_left = not has_some
        if is_lost:
            self._is_joined = False
            self._manager.pulse.thrown_out()

    def _error(self, error: ElsaError) -> None:
        manager = self._manager
        code = name_of(error)
        if "FENCED_INSTANCE_ID" in code or "FENCED_INSTANCE_ID" in str(error):
            self._fenced()
        manager.trouble.report(code, str(error))

    def _fenced(self) -> None:
        """Another member has our id: it wins, and this one never comes back with it."""
        if self._was_fenced:
            return
        self._was_fenced = True
        old = self._instance
        self._instance = f"{self._around.instance}-{secrets.token_hex(3)}"
        self._around.renamed(self._instance)
        log.error(
            "another worker uses the same group.instance.id: this one goes on under a new one",
            extra={
                "event": "instance_fenced",
                "group": self._manager.name,
                "instance": old,
                "new_instance": self._instance,
                "hint": FENCED_HINT,
            },
        )

    def failed(self, error: Exception) -> None:
        """The client broke; the next one starts from nothing."""
        if "FENCED_INSTANCE_ID" in str(error) or "fenced" in str(error).lower():
            self._fenced()
        self._is_joined = False

    # -- topics ----------------------------------------------------------------------------------------

    def topology(self, topics: Mapping[str, int], created: frozenset[str]) -> None:
        """The cluster's topics: resolve regexes, notice what is missing, what came, what has grown."""
        self._topics = topics
        wanted = self._manager.routes.learn(topics)
        if wanted and wanted != self.subscribed:
            self._subscribe(wanted)
        self._note_missing({t for t in wanted if t not in topics}, created)
        self._compare(wanted)

    def _note_missing(self, missing: set[str], created: frozenset[str]) -> None:
        for topic in sorted(missing - self._missing):
            log.warning(
                "topic does not exist: waiting for it",
                extra={
                    "event": "topic_missing",
                    "topic": topic,
                    "group": self._manager.name,
                    "hint": f"create it: elsa topics create {topic}",
                },
            )
        if (self._missing - missing) or created.intersection(self.subscribed):
            # librdkafka would see it with its next refresh; this asks now
            self._manager.consumer.refresh_metadata(1.0)
        self._missing = missing

    def _compare(self, topics: list[str]) -> None:
        text = json.dumps([[t, self._topics.get(t, 0)] for t in topics])
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        if digest == self._digest:
            return
        first = self._digest is None
        self._digest = digest
        self.is_verified = False
        slot, group = self._around.slot, self._manager.group
        if slot is None or not self._is_static or group is None:
            return
        before = slot.digest(group)
        if first and before and before != digest:
            self.wants_rejoin = True
        if before != digest:
            slot.write_digest(group, digest)

    def unowned(self, partitions: int) -> None:
        """Partitions of our topics have had no owner for a while."""
        log.warning(
            "partitions have no owner: leaving the group and joining anew",
            extra={"event": "partitions_unowned", "group": self._manager.name, "partitions": partitions},
        )
        self.wants_rejoin = True

    def chores(self, now: float) -> None:
        if not self._is_joined and self._settings.group_protocol != "classic":
            self._notice(now)
        if self.wants_rejoin and self._is_joined:
            self.wants_rejoin = False
            self._leave()
            self._ask()
            self._is_joined = False
        elif self._is_joined and self._asked != self.subscribed:
            self._ask()

    # -- leaving ---------------------------------------------------------------------------------------

    def leave(self, *, for_good: bool) -> None:
        """Leave so that the others take over at once; or stay a member, to come back under the same id."""
        if not for_good and self._is_static:
            return
        if self.subscribed:
            self._leave()
        slot, group = self._around.slot, self._manager.group
        if slot is not None and group is not None and self._is_static:
            # who joins as a new member gets a fresh assignment anyway
            slot.write_digest(group, "")

    def _leave(self) -> None:
        """`close` alone does not leave, and `unsubscribe` needs to be polled until the leave is sent."""
        manager = self._manager
        end = LEAVE_SECONDS + max(self._clock.monotonic(), manager.handover.drain_deadline())
        self._has_left = not manager.consumer.assigned()
        manager.consumer.unsubscribe()
        while not self._has_left and self._clock.monotonic() < end:
            # what comes now must not be missing if the partitions stay with us after all
            manager.intake.route(manager.poll(0.02))
        grace = self._clock.monotonic() + LEAVE_GRACE_SECONDS
        while self._clock.monotonic() < grace:
            manager.poll(0.02)


class StandaloneMembership:
    """Assigns partitions to itself: those of its topic that fall to this process (partition mod processes)."""

    is_unverified = False
    is_verified = True
    wants_rejoin = False

    def __init__(self, manager: GroupManager, around: Surroundings) -> None:
        self._manager = manager
        self._around = around
        self._binding = manager.bindings[0]
        self.subscribed = [self._binding.topic]
        self._missing_reported = False

    def make_consumer(self) -> GroupConsumer:
        manager = self._manager
        return GroupConsumer(
            self._around.app.settings,
            None,
            on_error=lambda error: manager.trouble.report(getattr(error, "code", ""), str(error)),
            on_statistics=manager.statistics,
            on_throttled=manager.app.observer.throttled,
        )

    def join(self) -> None:
        """Partitions come with the list of topics."""

    def topology(self, topics: Mapping[str, int], created: frozenset[str]) -> None:  # noqa: ARG002 - the seam
        """Take the partitions that are ours and not taken yet; new ones later, too."""
        around, binding = self._around, self._binding
        names = [t for t in topics if binding.matches(t)]
        if not names and not self._missing_reported and not binding.is_pattern:
            self._missing_reported = True
            log.warning(
                "topic does not exist: waiting for it",
                extra={"event": "topic_missing", "topic": binding.topic, "handler": binding.name},
            )
        wanted = binding.first.declared.partitions
        fresh = [
            partition
            for topic in names
            for number in range(topics[topic])
            if (wanted is None or number in wanted)
            and number % around.processes == around.index
            and (partition := TopicPartition(topic, number)) not in self._manager.assignment.owned
        ]
        if fresh:
            self._take(fresh)
        if names:
            self._manager.is_ready = True

    def _take(self, fresh: list[TopicPartition]) -> None:
        manager = self._manager
        # the supervisor keeps what a dead predecessor reported last; a rebuilt client has it in memory
        known = {**self._around.positions.get(manager.name, {}), **manager.positions}
        begins: dict[TopicPartition, starts.Begin] = {}
        asked = {}
        for partition in fresh:
            position = known.get(str(partition))
            if position is not None:
                begins[partition] = starts.Begin(position, position)
            else:
                asked[partition] = self._binding
        begins |= starts.resolve(manager.consumer, asked, None, manager.routes)
        manager.handover.take(begins)

    def unowned(self, partitions: int) -> None:
        """Nobody asks this of a standalone handler."""

    def chores(self, now: float) -> None:
        """Nothing to look after: the positions are kept by the manager."""

    def gave_up(self, *, has_some: bool, is_lost: bool = False) -> None:
        """Only a group takes partitions away."""

    def failed(self, error: Exception) -> None:
        """The next client starts from the positions in memory."""

    def leave(self, *, for_good: bool) -> None:
        """There is nothing to leave."""
