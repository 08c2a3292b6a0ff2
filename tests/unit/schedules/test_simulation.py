"""Three owners of schedules that crash, stall and come back at any call: each fire time is sent exactly once."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import elsa
from elsa.testing.kafka import unique_name

from .simulation import KINDS, Simulation

if TYPE_CHECKING:
    from collections.abc import Iterator

FAULTS = st.lists(st.tuples(st.integers(0, 25), st.sampled_from(KINDS)), max_size=12)
#: calls of clients in the first steps: to join, to be given shards, to read them, to fire twice
CALLS = 60
SCRIPT = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.05, 0.4, 1.7])), min_size=30, max_size=150)


@pytest.fixture(scope="module")
def app() -> Iterator[elsa.App]:
    made = elsa.App(unique_name("simulated"))
    for name, seconds in (("a", 1), ("b", 1), ("c", 2), ("d", 7)):
        made.every(seconds, name=name, misfire_limit=3600)(made.task(name=f"task-{name}")(lambda: None))
    yield made
    made.stop()


def sent(simulation: Simulation) -> dict[str, list[float]]:
    """The fire times of each schedule, as the log has them."""
    found: dict[str, list[float]] = defaultdict(list)
    for one in simulation.world.log:
        name, _, at = one.partition(":")
        found[name].append(datetime.fromisoformat(at).timestamp())
    return found


def check(simulation: Simulation, periods: dict[str, int]) -> None:
    twice = {one: count for one, count in Counter(simulation.world.log).items() if count > 1}
    assert twice == {}
    fires = sent(simulation)
    assert fires.keys() == periods.keys()
    for name, period in periods.items():
        times = sorted(fires[name])
        assert times == [times[0] + period * number for number in range(len(times))]
        # to the end: nothing is left over
        assert simulation.world.time - times[-1] <= period + 2


@pytest.mark.parametrize("is_static", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_happens_at_whichever_call(app: elsa.App, kind: str, *, is_static: bool) -> None:
    for call in range(CALLS):
        simulation = Simulation(app, [(call, kind)], is_static=is_static)
        simulation.run([(step % 3, 0.45) for step in range(30)])
        simulation.heal()

        assert simulation.is_tried, f"there is no call {call}: lower CALLS"
        check(simulation, {"a": 1, "b": 1, "c": 2, "d": 7})


@given(faults=FAULTS, script=SCRIPT, is_static=st.booleans())
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_each_fire_time_is_sent_exactly_once(
    app: elsa.App, faults: list[tuple[int, str]], script: list[tuple[int, float]], *, is_static: bool
) -> None:
    simulation = Simulation(app, faults, is_static=is_static)
    simulation.run(script)
    simulation.heal()

    check(simulation, {"a": 1, "b": 1, "c": 2, "d": 7})
