"""Movers, faults, sends and time in any order: at the end everything is healed, and each message arrives once."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from .cluster import TARGET
from .faults import ACTIONS, WAITS, abort
from .simulation import STEPS, World


class Machine(RuleBasedStateMachine):
    """Movers, faults, sends and time in any order; at the end everything is healed and has to arrive."""

    @initialize(movers=st.lists(st.booleans(), min_size=1, max_size=3), polled=st.integers(1, 30))
    def start(self, movers: list[bool], polled: int) -> None:
        self.world = World(most_polled=polled)
        self.world.broker.topics["other"] = 2
        for is_static in movers:
            self.world.add_mover(is_static=is_static)
        self.world.run(2.2, 0.1)

    @rule(
        waits=st.lists(st.sampled_from(WAITS) | st.floats(0.1, 400_000), min_size=1, max_size=10),
        key=st.sampled_from([b"a", b"b", None]),
        partition=st.sampled_from([None, 0, 1]),
        topic=st.sampled_from([TARGET, TARGET, "other"]),
    )
    def send(self, waits: list[float], key: bytes | None, partition: int | None, topic: str) -> None:
        for wait in waits:
            number = self.world.send(wait, key=key, partition=partition, topic=topic)
            if topic != TARGET:
                self.elsewhere.add(number)

    @property
    def elsewhere(self) -> set[int]:
        """Messages for the other topic."""
        found: set[int] = self.__dict__.setdefault("_elsewhere", set())
        return found

    @rule(rounds=st.integers(1, 60), step=st.sampled_from([0.02, 0.1, 0.3]))
    def run_on(self, rounds: int, step: float) -> None:
        for _ in range(rounds):
            self.world.round(step)

    @rule(seconds=st.floats(1, 100_000))
    def skip(self, seconds: float) -> None:
        self.world.skip(seconds)

    @rule(
        step=st.sampled_from(STEPS),
        when=st.sampled_from(["before", "after"]),
        action=st.sampled_from(ACTIONS),
    )
    def fault(self, step: str, when: str, action: Any) -> None:
        # what is committed is never said to be aborted
        if (step, when, action) != ("commit", "after", abort):
            self.world.plan(step, when, action)

    @rule(is_static=st.booleans())
    def join(self, *, is_static: bool) -> None:
        if len(self.world.movers) < 4:
            self.world.add_mover(is_static=is_static)

    @precondition(lambda self: self.world.movers)
    @rule(index=st.integers(0, 3), kind=st.sampled_from(["stop", "kill", "put out"]))
    def leave(self, index: int, kind: str) -> None:
        mover = self.world.movers[index % len(self.world.movers)]
        if kind == "stop" and not self.world.broker.is_away:
            mover.stop()
        elif kind == "put out":
            for consumer in mover.consumers:
                if consumer in self.world.broker.members:
                    self.world.broker.put_out(consumer)
        else:
            self.world.gone(mover)

    @rule(seconds=st.floats(0.5, 40))
    def broker_away(self, seconds: float) -> None:
        self.world.broker.away_until = self.world.clock.monotonic() + seconds
        self.world.run(seconds, 0.3)

    @precondition(lambda self: self.world.sent)
    @rule(index=st.integers(0, 1_000))
    def cancel(self, index: int) -> None:
        self.world.cancel(index % len(self.world.sent))

    @rule(code=st.sampled_from(["MSG_SIZE_TOO_LARGE", "_MSG_TIMED_OUT", None]), digit=st.sampled_from(b"0123456789"))
    def refuse(self, code: str | None, digit: int) -> None:
        self.world.broker.refuses[TARGET] = lambda value: code if value and digit in value else None

    @rule()
    def delete_other(self) -> None:
        self.world.broker.topics.pop("other", None)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        try:
            world.plans.clear()
            world.broker.refuses.clear()
            for mover in world.movers:
                world.gone(mover)
            world.skip(60)
            world.add_mover()
            world.run_dry()
            seen = {arrival.number for arrival in world.broker.arrivals("other")}
            for number in seen & self.elsewhere:
                del world.sent[number]
            assert seen <= self.elsewhere
            world.check()
        finally:
            world.end()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
