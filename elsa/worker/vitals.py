"""What is known of the health of one worker process, as checks; its main thread asks and tells the supervisor.

A check looks at what threads have left behind (a group manager's `Pulse`, when mover and scheduler came round, the
watcher's last look, the running calls), so that a thread that hangs is seen and not waited for. Nothing that liveness
is judged by needs Kafka to answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM
from elsa.observe.verdicts import Check, aged
from elsa.worker.pulse import FATAL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from elsa.renewing import Renewing
    from elsa.worker.group import GroupManager
    from elsa.worker.runtime import Runtime

#: how often the supervisor hears of a process of which nothing has changed
BEAT_SECONDS = 5.0
#: how often that is looked at
LOOK_SECONDS = 1.0
#: what a call may take beyond its handler's own timeout, and a turn of mover or scheduler beyond the poll interval
GRACE_SECONDS = 60.0
#: the cluster was looked at within this time beyond `metadata_refresh`, or its answer does not count any more
LATE_SECONDS = 30.0
#: a join state may last so many `max_poll_interval`
FROZEN_INTERVALS = 2
#: so many of the topics that may not be read are named
_NAMED = 3


class Vitals:
    """Judges one runtime. `checks` and `beat` are for the main thread of the process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings = runtime.app.settings
        self._started_at = SYSTEM.monotonic()
        self._limits = {
            handler.name: handler.declared.timeout + GRACE_SECONDS
            for binding in runtime.bindings
            for handler in binding.handlers()
            if handler.declared.timeout is not None
        }
        self._verdicts: Mapping[str, Any] = {}
        self._looked_at = self._told_at = 0.0
        #: when the brokers were last known to be away, monotonic
        self._away_at = 0.0

    def beat(self, *, at_once: bool = False) -> dict[str, Any] | None:
        """What the supervisor is to be told now: what has changed, or after a while that nothing has."""
        now = SYSTEM.monotonic()
        if not at_once and now - self._looked_at < LOOK_SECONDS:
            return None
        self._looked_at = now
        checks = self.checks()
        verdicts = {probe: [check.ok for check in found] for probe, found in checks.items()}
        if not at_once and verdicts == self._verdicts and now - self._told_at < BEAT_SECONDS:
            return None
        self._verdicts, self._told_at = verdicts, now
        return {
            "type": "beat",
            "checks": {probe: [check.document() for check in found] for probe, found in checks.items()},
        }

    def checks(self) -> dict[str, list[Check]]:
        """By probe: live, ready, startup."""
        managers = self._runtime.managers
        if self._runtime.brokers_answered()[1] is not None:
            self._away_at = SYSTEM.monotonic()
        groups = [(manager, list(self._of_group(manager))) for manager in managers]
        return {
            "live": [check for _, found in groups for check in found]
            + [self._of_service(service) for service in self._runtime.services]
            + list(self._of_handlers()),
            "ready": [check for each in groups for check in (self._assignment(*each), _topics(each[0]))]
            + [self._intake(), self._brokers(), *self._runtime.readiness.checks()],
            "startup": [
                Check(
                    name="consumer",
                    about=manager.name,
                    ok=manager.pulse.has_client,
                    hint="its Kafka client could not be made: the log says why",
                )
                for manager in managers
            ],
        }

    def _blamed(self, seconds: float, limit: float) -> float:
        """Of so many seconds until now those in which the brokers were there: what waits for them hangs with them.

        They count from when the brokers were known to be away last, up to their last answer.
        """
        if seconds > limit / 2:
            # a client that hangs with the brokers does not say that they are gone
            self._runtime.doubt()
        answered, _ = self._runtime.brokers_answered()
        if answered is None:
            return 0.0
        return max(0.0, min(seconds, SYSTEM.monotonic() - self._away_at) - answered)

    def _of_group(self, manager: GroupManager) -> Iterable[Check]:
        pulse, now = manager.pulse, SYSTEM.monotonic()
        interval = self._settings.max_poll_interval
        yield aged(
            "poll",
            self._blamed(now - pulse.polled_at, interval),
            interval,
            "the thread that polls hangs, in a hook, an observer or the client: "
            "`elsa control stacks` shows where, a restart frees its partitions",
            manager.name,
        )
        yield self._client(manager, now)
        if manager.group is None:
            return
        frozen = pulse.frozen
        state, since = frozen or ("", now)
        yield aged(
            "join",
            self._blamed(now - since, FROZEN_INTERVALS * interval),
            FROZEN_INTERVALS * interval,
            f"the group's join stands still in {state!r}: restart this worker, and look at the group's other members",
            manager.name,
        )

    def _of_service(self, service: Renewing) -> Check:
        """A thread of the mover or the scheduler: transactions make its turns longer than those of a group manager."""
        name, what, _ = service.what
        if service.has_died:
            return Check(
                name=name,
                about=service.group,
                ok=False,
                hint=f"the thread of {what} has ended, the log says why: restart this worker",
            )
        limit = self._settings.max_poll_interval + GRACE_SECONDS
        hint = (
            f"the thread of {what} hangs, in an observer or the client: `elsa control stacks` shows where, "
            "a restart frees its partitions"
        )
        return aged(name, self._blamed(SYSTEM.monotonic() - service.polled_at, limit), limit, hint, service.group)

    def _client(self, manager: GroupManager, now: float) -> Check:
        """A fatal error is mended by a new client; one that comes again and again is not."""
        fatal = manager.pulse.fatal
        if fatal is None or now - fatal.last > FATAL_SECONDS:
            return Check(name="client", about=manager.name, ok=True, age=0.0, limit=FATAL_SECONDS)
        hint = f"each new Kafka client fails at once: {fatal.text}"
        return aged("client", self._blamed(now - fatal.first, FATAL_SECONDS), FATAL_SECONDS, hint, manager.name)

    def _of_handlers(self) -> Iterable[Check]:
        """Those with a time limit, by their longest call."""
        longest = dict.fromkeys(self._limits, 0.0)
        places = dict.fromkeys(self._limits, "")
        if longest:
            for call in self._runtime.running(with_stacks=False):
                name, seconds = call["handler"], float(call["seconds"])
                if seconds > longest.get(name, seconds):
                    longest[name] = seconds
                    places[name] = f"{call['topic']}[{call['partition']}] offset {call['offset']}"
        for name, limit in self._limits.items():
            hint = (
                f"its call for {places[name]} has outlived its timeout: `elsa control stacks` shows where it stands; "
                'executor="process" can end such calls'
            )
            yield aged("handler", self._blamed(longest[name], limit), limit, hint, name)

    def _assignment(self, manager: GroupManager, alive: Iterable[Check]) -> Check:
        """Whether it is a member that works, with partitions or without: a rebalance is no reason to say no."""
        pulse = manager.pulse
        hint = next((check.hint for check in alive if not check.ok), "")
        if not (pulse.was_assigned or manager.is_ready):
            hint = "it has never had its partitions: is Kafka there, do its topics exist, does the group rebalance?"
        elif pulse.is_out:
            hint = hint or "it has lost its place in the group with all partitions, and joins anew"
        age = SYSTEM.monotonic() - self._started_at
        return Check(name="assignment", about=manager.name, ok=not hint, age=age, hint=hint)

    def _intake(self) -> Check:
        is_ending = self._runtime.is_stopping or self._runtime.is_quiet
        return Check(name="intake", ok=not is_ending, hint="it was told to take no more messages")

    def _brokers(self) -> Check:
        age, trouble = self._runtime.brokers_answered()
        limit = self._settings.metadata_refresh + LATE_SECONDS
        hint = (
            f"Kafka does not answer; it is waited for, nothing has to be restarted{f': {trouble}' if trouble else ''}"
        )
        ok = trouble is None and age is not None and age <= limit
        return Check(name="brokers", ok=ok, age=age, limit=limit, hint=hint)


def _topics(manager: GroupManager) -> Check:
    refused = manager.trouble.refusals.now
    since = min((refusal.since for refusal in refused.values()), default=None)
    return Check(
        name="topics",
        about=manager.name,
        ok=not refused,
        age=None if since is None else SYSTEM.monotonic() - since,
        hint="nothing is taken, and nothing has to be restarted: "
        + "; ".join(refusal.text for refusal in list(refused.values())[:_NAMED]),
    )
