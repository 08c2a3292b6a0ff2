"""Watches the cluster for the group managers of one process: creates missing topics, lists topics, owners.

One thread, so that a cluster that does not answer never holds up a thread that polls.
"""

from __future__ import annotations

import logging
import random
import threading
from typing import TYPE_CHECKING

from elsa import exits
from elsa.errors import AuthenticationFailed, ElsaError, KafkaError
from elsa.message import TopicPartition
from elsa.worker.horizons import Ends
from elsa.worker.mailbox import Topology, Unowned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.registry import Binding
    from elsa.worker.group import GroupManager

log = logging.getLogger("elsa.worker")

#: how often the cluster is asked while something is missing or not verified yet
BUSY_SECONDS = 1.0
#: how long partitions may have no owner before their group's member leaves and joins anew
UNOWNED_SECONDS = 5.0
#: A look takes seconds when it is refused, and is several attempts; a broker that restarts may break one of them off.
REFUSALS = 2


class Watcher:
    """Posts what it sees to the managers' mailboxes; `stop` may be called from any thread."""

    def __init__(
        self,
        app: App,
        bindings: Sequence[Binding],
        managers: Sequence[GroupManager],
        clock: Clock,
        fail: Callable[[str, int], None],
    ) -> None:
        self._app = app
        self._bindings = bindings
        self._managers = managers
        self._clock = clock
        self._fail = fail
        #: looks that were refused one after the other, before the first that was not
        self._refusals = 0
        self._ended = threading.Event()
        #: set when a look must not wait any longer, also by the end
        self._awake = threading.Event()
        self._has_looked = threading.Event()
        self._topics: Mapping[str, int] = {}
        self._created: set[str] = set()
        self._unowned_since: dict[str, float] = {}
        #: when the cluster answered last, monotonic; None before the first time
        self.answered_at: float | None = None
        #: why it did not answer the last time, None when it did
        self.trouble: str | None = None
        self._ends = Ends(app, managers, clock)
        self._thread = threading.Thread(target=self._run, name="elsa-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look(self) -> None:
        """Look at the cluster now: something has been made here."""
        self._awake.set()

    def doubt(self) -> None:
        """A client says that no broker is there: look now, unless that is known."""
        if self.trouble is None:
            self._awake.set()

    def stop(self, timeout: float = 5.0) -> None:
        self._ended.set()
        self._awake.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def seen(self, timeout: float) -> Mapping[str, int]:
        """The topics of the last look; waits so long for the first one."""
        self._has_looked.wait(timeout)
        return self._topics

    def _run(self) -> None:
        while not self._ended.is_set():
            self._awake.clear()
            try:
                is_settled = self._look()
            except ElsaError as error:
                is_settled = False
                if self._is_turned_away(error):
                    self._fail(f"Kafka does not let this worker in: {error}", exits.code_of(error))
                    return
                log.warning(
                    "kafka: %s; waiting for it",
                    str(error).splitlines()[0],
                    extra={
                        "event": "kafka_error",
                        "brokers": self._app.settings.brokers,
                        "limit": type(error).__name__,
                    },
                )
            except Exception:  # border: without its look at the cluster a worker would miss topics in silence
                is_settled = False
                log.exception("the look at the cluster failed", extra={"event": "watcher_failed", "limit": "watcher"})
            if self._ended.is_set():
                # what woke it may have been cleared above
                return
            pause = self._app.settings.metadata_refresh
            self._rest(pause if is_settled else min(BUSY_SECONDS, pause))

    def _rest(self, seconds: float) -> None:
        """Wait for the next look; meanwhile ask for the ends of partitions that stand still, when that is due."""
        end = self._clock.monotonic() + seconds
        while (left := end - self._clock.monotonic()) > 0:
            if self._awake.wait(min(left, self._ends.seconds_until_due())):
                return
            self._ends.ask()

    def _is_turned_away(self, error: ElsaError) -> bool:
        """Whether this worker was never let in and will not be: somebody should look at it, not wait for it.

        One that works already waits instead: passwords are changed in the cluster and in the files at different times.
        """
        is_refused = isinstance(error, AuthenticationFailed) and not self._has_looked.is_set()
        self._refusals = self._refusals + 1 if is_refused else 0
        return self._refusals >= REFUSALS

    def _look(self) -> bool:
        """One look at the cluster; whether everything is as it should be."""
        topics = self._list()
        created = self._create_missing(topics)
        if created:
            topics = self._list()
        self._topics = topics
        self._has_looked.set()
        news = Topology(topics, created)
        for manager in self._managers:
            manager.mailbox.put(news)
        missing = any(not b.is_pattern and b.topic not in topics for b in self._bindings)
        is_verified = self._verify(topics)
        return self._may_read() and is_verified and not missing

    def _list(self) -> Mapping[str, int]:
        try:
            topics: Mapping[str, int] = self._app.topics.list(internal=True)
        except ElsaError as error:
            self.trouble = str(error).splitlines()[0]
            raise
        self.answered_at, self.trouble = self._clock.monotonic(), None
        return topics

    def _create_missing(self, topics: Mapping[str, int]) -> frozenset[str]:
        """Create the topics that handlers name and that do not exist, where the settings say so; which."""
        if not self._app.settings.creates_topics:
            return frozenset()
        created = set()
        for binding in self._bindings:
            if binding.is_pattern or binding.topic in topics or binding.topic in self._created:
                continue
            try:
                is_new = self._app.create_declared(binding.topic, binding.first.declared)
            except KafkaError as error:
                if error.retryable:
                    raise
                # refused for good (an ACL, an illegal setting): say it once, then wait like in production
                self._created.add(binding.topic)
                log.warning("topic could not be created: %s", error, extra={"topic": binding.topic})
                continue
            self._created.add(binding.topic)
            created.add(binding.topic)
            if is_new:  # or another process was faster, and has said so
                log.info("topic created", extra={"event": "topic_created", "topic": binding.topic})
        return frozenset(created)

    def _may_read(self) -> bool:
        """Whether no client is refused a topic any more; what is refused no longer is told to their managers."""
        asked_at = self._clock.monotonic()
        refusals = [manager.trouble.refusals for manager in self._managers]
        standing = set().union(*(each.standing() for each in refusals))
        if standing:
            readable = standing - self._app.topics.unreadable(standing)
            for each in refusals:
                each.lift(readable, asked_at)
        return not any(each.now for each in refusals)

    def _verify(self, topics: Mapping[str, int]) -> bool:
        """Whether every partition of every group's topics has an owner; tells those that have waited too long."""
        verified = True
        for manager in self._managers:
            membership = manager.membership
            if manager.group is None or not membership.is_unverified:
                continue
            if not manager.is_ready or not membership.subscribed:
                verified = False
                continue
            unowned = self._unowned(manager.group, membership.subscribed, topics)
            if unowned == 0:
                membership.is_verified = True
                self._unowned_since.pop(manager.group, None)
                continue
            verified = False
            self._wait_for_owner(manager, manager.group, unowned)
        return verified

    def _wait_for_owner(self, manager: GroupManager, group: str, unowned: int | None) -> None:
        now = self._clock.monotonic()
        if unowned is None:
            # a rebalance is under way
            self._unowned_since.pop(group, None)
            return
        # not all members at once: the first to leave triggers the rebalance that the others need
        since = self._unowned_since.setdefault(group, now + random.uniform(0, 1))  # noqa: S311 - no secret
        if now - since >= UNOWNED_SECONDS:
            self._unowned_since.pop(group)
            manager.mailbox.put(Unowned(unowned))

    def _unowned(self, group: str, subscribed: Sequence[str], topics: Mapping[str, int]) -> int | None:
        """How many partitions have no owner, None while the group is not stable."""
        owned = self._app.groups.owned(group)
        if owned is None:
            return None
        wanted = {TopicPartition(t, p) for t in subscribed for p in range(topics.get(t, 0))}
        return len(wanted - owned)
