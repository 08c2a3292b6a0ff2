"""What the owner of a shard sends and remembers: new, changed and removed schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.policies.schedule import NEVER
from elsa.schedules import state
from elsa.schedules.shard import FORGET_MILLISECONDS, MOST_FIRES, Shard
from elsa.testing.kafka import unique_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.schedules.declared import Schedule

NOW = 1_000_500


@pytest.fixture
def app() -> Iterator[elsa.App]:
    made = elsa.App(unique_name("shard"))
    yield made
    made.stop()


def schedule(app: elsa.App, seconds: float, name: str = "tick", misfire_limit: float = 600) -> Schedule:
    app.every(seconds, name=name, misfire_limit=misfire_limit)(app.task(name=f"task-{name}-{seconds}")(lambda: None))
    return app.schedules[name]


def times(shard: Shard, now: int) -> list[int]:
    """Fire and remember; the fire times."""
    plan = shard.plan(now)
    assert plan is not None
    shard.settle(plan)
    return [at for _, at in plan.fires]


def test_at_the_first_start_nothing_fires_for_the_past_and_that_it_was_seen_is_remembered(app: elsa.App) -> None:
    shard = Shard([schedule(app, 1)], {}, NOW)
    plan = shard.plan(NOW)

    assert plan is not None
    assert plan.fires == []
    assert state.decode(plan.metadata) == {app.schedules["tick"].identity: NOW}
    shard.settle(plan)
    assert shard.plan(NOW) is None
    assert shard.next == 1_001_000
    assert times(shard, 1_002_000) == [1_001_000, 1_002_000]


def test_a_successor_goes_on_where_the_predecessor_has_stopped(app: elsa.App) -> None:
    one = schedule(app, 1)
    plan = Shard([one], {one.identity: NOW}, NOW).plan(1_002_000)
    assert plan is not None

    successor = Shard([one], state.decode(plan.metadata) or {}, 1_003_700)

    assert times(successor, 1_003_700) == [1_003_000]


def test_a_plan_that_was_not_carried_out_is_made_again(app: elsa.App) -> None:
    one = schedule(app, 1)
    shard = Shard([one], {one.identity: NOW}, NOW)
    shard.plan(1_001_000)

    assert times(shard, 1_001_000) == [1_001_000]


def test_a_changed_schedule_begins_now(app: elsa.App) -> None:
    old = schedule(app, 1)
    other = elsa.App(unique_name("shard"))
    new = schedule(other, 2)
    other.stop()

    shard = Shard([new], {old.identity: 900_000}, NOW)

    assert old.shard == new.shard
    assert times(shard, NOW) == []
    assert times(shard, 1_003_000) == [1_002_000]


def test_other_arguments_are_the_same_schedule(app: elsa.App) -> None:
    task = app.task(name="t")(lambda *n: None)
    app.every(1, name="x", args=(1,))(task)
    other = elsa.App(unique_name("shard"))
    other.every(1, name="x", args=(2,), misfire_limit=5)(other.task(name="t")(lambda *n: None))
    other.stop()

    assert app.schedules["x"].identity == other.schedules["x"].identity


def test_a_removed_schedule_is_forgotten_after_an_hour(app: elsa.App) -> None:
    gone, stays = schedule(app, 1, "gone"), schedule(app, 60, "stays")
    known = {gone.identity: NOW, stays.identity: NOW}

    soon = Shard([stays], known, NOW).plan(NOW + FORGET_MILLISECONDS)
    late = Shard([stays], known, NOW).plan(NOW + FORGET_MILLISECONDS + 1)

    assert soon is not None
    assert late is not None
    assert soon.through.keys() == known.keys()
    assert late.through.keys() == {stays.identity}


def test_one_that_is_held_back_does_not_hold_the_others_up(app: elsa.App) -> None:
    a, b = schedule(app, 1, "a"), schedule(app, 1, "b")
    shard = Shard([a, b], {a.identity: NOW, b.identity: NOW}, NOW)
    plan = shard.plan(1_002_000, ["a"])
    assert plan is not None
    shard.settle(plan)

    assert [(one.name, at) for one, at in plan.fires] == [("b", 1_001_000), ("b", 1_002_000)]
    assert times(shard, 1_002_000) == [1_001_000, 1_002_000]


def test_what_is_later_than_the_limit_is_told(app: elsa.App) -> None:
    one = schedule(app, 1, misfire_limit=2)
    plan = Shard([one], {one.identity: NOW}, NOW).plan(1_010_000)

    assert plan is not None
    assert plan.missed == [(one, 7)]
    assert [at for _, at in plan.fires] == [1_008_000, 1_009_000, 1_010_000]


def test_a_long_backlog_goes_in_parts(app: elsa.App) -> None:
    one = schedule(app, 1)
    shard = Shard([one], {one.identity: 0}, NOW)

    assert [len(times(shard, 250_000)) for _ in range(3)] == [MOST_FIRES, MOST_FIRES, 250 - 2 * MOST_FIRES]


def test_a_shard_without_schedules_has_nothing_to_do() -> None:
    shard = Shard([], {}, NOW)

    assert shard.next == NEVER
    assert shard.plan(NOW) is None
