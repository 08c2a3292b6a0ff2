from __future__ import annotations

import itertools

import pytest

from tests.stress.schedule import FAULTS, FIRST_SECONDS, LAST_SECONDS, MOST_WORKERS, plan

SEEDS = range(200)


def test_a_seed_repeats_its_schedule() -> None:
    assert plan(7, 600.0) == plan(7, 600.0)
    assert plan(7, 600.0) != plan(8, 600.0)


@pytest.mark.parametrize("seed", SEEDS[:20])
def test_ten_minutes_hold_every_fault(seed: int) -> None:
    assert {fault.what for fault in plan(seed, 600.0)} == set(FAULTS)


@pytest.mark.parametrize("seed", SEEDS[:20])
def test_faults_come_in_the_order_of_their_time_and_are_over_before_the_end(seed: int) -> None:
    faults = plan(seed, 600.0, kinds=5)

    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert min(fault.at for fault in faults) >= FIRST_SECONDS
    assert max(fault.ends_at for fault in faults) <= 600.0 - LAST_SECONDS


def test_never_two_brokers_are_away_at_once() -> None:
    for seed in SEEDS:
        away = [fault for fault in plan(seed, 600.0) if fault.what in ("broker-kill", "broker-stop")]

        assert all(before.ends_at < after.at for before, after in itertools.pairwise(away))


def test_a_worker_is_hit_only_while_it_is_there() -> None:
    for seed in SEEDS:
        count, away = 2, [0.0] * MOST_WORKERS
        for fault in plan(seed, 600.0):
            if fault.what == "scale":
                # the ones that go are not away
                assert all(until <= fault.at for until in away[int(fault.value) : count])
                count = int(fault.value)
                assert 1 <= count <= MOST_WORKERS
            elif fault.what in ("kill", "kill-host", "term", "roll", "freeze", "cut"):
                assert fault.target < count
                assert away[fault.target] <= fault.at
                away[fault.target] = fault.ends_at


def test_a_freeze_is_longer_than_the_session() -> None:
    freezes = [fault for fault in plan(3, 3600.0, session=10.0) if fault.what == "freeze"]

    assert freezes
    assert all(fault.value > 10.0 for fault in freezes)


def test_only_the_wanted_faults_come_each_before_any_comes_twice() -> None:
    wanted = ("kill", "term", "freeze", "broker-kill")

    for seed in SEEDS:
        assert sorted(fault.what for fault in plan(seed, 120.0, faults=wanted)[:4]) == sorted(wanted)
