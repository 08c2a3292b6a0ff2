"""The monitor shows what it saw last, says when it sees nothing, and forgets what is gone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from elsa.errors import BrokerUnavailable, NotStarted
from elsa.monitor.look import Failure, Request
from elsa.monitor.watch import STALE_SECONDS, Watch
from elsa.testing.clock import FakeClock

from .sights import group, look, partition

if TYPE_CHECKING:
    from elsa.monitor.look import Look


class Scripted:
    """Looks as they are written down."""

    def __init__(self, *looks: Look | Exception) -> None:
        self.looks = list(looks)

    def look(self, request: Request) -> Look:
        found = self.looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


DOWN = BrokerUnavailable("no Kafka broker answered", code="_TRANSPORT")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def watching(clock: FakeClock, *looks: Look | Exception) -> Watch:
    return Watch(Scripted(*looks), Request(), interval=10.0, window=60.0, clock=clock)


def series(watch: Watch, name: str) -> dict[str, float]:
    lines = [line for line in watch.page().decode().splitlines() if line.startswith(name)]
    return {line.rpartition(" ")[0].removeprefix(name): float(line.rpartition(" ")[2]) for line in lines}


def test_a_look_that_ends_with_the_monitor_is_no_failure(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    watch = watching(clock, look(group(partition())), NotStarted("the scout was closed while it looked"))
    watch.turn()
    watch.turn()

    assert series(watch, "elsa_monitor_up") == {"": 1}
    assert not caplog.records


def test_a_look_becomes_series(clock: FakeClock) -> None:
    watch = watching(clock, look(group(partition(), partition(1, committed=None, lag_seconds=None))))
    watch.turn()

    here = '{group="billing",topic="orders",partition="%d"}'
    assert series(watch, "elsa_group_lag_messages") == {here % 0: 3, here % 1: 3}
    assert series(watch, "elsa_group_lag_seconds") == {here % 0: 12}
    assert series(watch, "elsa_group_committed_offset") == {here % 0: 5}
    assert series(watch, "elsa_group_end_offset") == {here % 0: 8, here % 1: 8}
    assert series(watch, "elsa_group_members") == {'{group="billing"}': 1}
    assert series(watch, "elsa_group_info") == {'{group="billing",state="stable"}': 1}
    status = series(watch, "elsa_group_partition_status")
    assert sorted(status.values()) == [0.0] * 8 + [1.0] * 2
    assert status['{group="billing",topic="orders",partition="0",status="ok"}'] == 1
    assert series(watch, "elsa_monitor_up") == {"": 1}
    assert series(watch, "elsa_monitor_last_success_timestamp_seconds") == {"": 1000}
    assert watch.page(openmetrics=True).endswith(b"# EOF\n")


def test_groups_and_partitions_that_are_gone_vanish(clock: FakeClock) -> None:
    watch = watching(
        clock, look(group(partition(), partition(1)), group(partition(), name="mail")), look(group(partition()))
    )
    watch.turn()
    watch.turn()

    assert len(series(watch, "elsa_group_lag_messages")) == 1
    assert len(series(watch, "elsa_group_members")) == 1


def test_while_kafka_is_away_what_was_seen_last_is_shown_for_a_minute(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "elsa.monitor")
    watch = watching(clock, look(group(partition())), DOWN, DOWN, look(group(partition())))
    watch.turn()
    clock.advance(STALE_SECONDS)
    watch.turn()
    shown, ready = series(watch, "elsa_group_lag_messages"), watch.ready().ok
    clock.advance(1.0)
    watch.turn()

    assert (len(shown), ready) == (1, True)
    assert series(watch, "elsa_group_lag_messages") == {}
    assert series(watch, "elsa_monitor_up") == {"": 0}
    assert series(watch, "elsa_monitor_errors_total") == {'{error_type="_TRANSPORT"}': 2}
    assert (watch.ready().ok, watch.status()["up"], watch.status()["groups"]) == (False, False, [])
    watch.turn()
    assert series(watch, "elsa_monitor_up") == {"": 1}
    assert (len(series(watch, "elsa_group_lag_messages")), watch.ready().ok) == (1, True)
    # once each, however long it lasts
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "groups can not be seen in full",
        "groups can be seen again",
    ]


@pytest.mark.parametrize("failure", [Failure("group", "mail", "X", "x"), Failure("cluster", "", "X", "x")])
def test_what_could_not_be_seen_stays_for_a_while(clock: FakeClock, failure: Failure) -> None:
    """One coordinator does not answer; the other groups are seen as ever."""
    watch = watching(
        clock, look(group(partition()), group(partition(), name="mail")), look(group(partition()), failures=(failure,))
    )
    watch.turn()
    watch.turn()

    assert len(series(watch, "elsa_group_members")) == 2
    assert series(watch, "elsa_monitor_up") == {"": 1}
    assert series(watch, "elsa_monitor_errors_total") == {'{error_type="X"}': 1}


def test_it_is_live_while_its_loop_comes_round_and_ready_when_it_has_seen_something(clock: FakeClock) -> None:
    watch = watching(clock, DOWN, look())

    assert (watch.live().ok, watch.ready().ok) == (True, False)
    watch.turn()
    assert (watch.live().ok, watch.ready().ok) == (True, False)
    watch.turn()
    assert watch.ready().document() == {
        "ready": True,
        "checks": [{"name": "look", "ok": True, "age": 0.0, "limit": STALE_SECONDS}],
    }
    clock.advance(1_000.0)
    (check,) = watch.live().document()["checks"]
    assert (check["ok"], check["hint"]) == (False, "the loop hangs: restart the monitor")


def test_it_says_why_it_is_not_ready(clock: FakeClock) -> None:
    watch = watching(clock, DOWN, look(), DOWN, look())

    def why() -> str:
        (check,) = watch.ready().document()["checks"]
        return str(check.get("hint", ""))

    assert why() == "nothing has been seen yet, the first look is not done"
    watch.turn()
    assert why() == "nothing has been seen yet, the last look failed: no Kafka broker answered"
    watch.turn()
    assert why() == ""
    clock.advance(STALE_SECONDS + 1)
    assert why() == "what was seen last is older than 60 s, the next look is not done"
    watch.turn()
    assert why() == "what was seen last is older than 60 s, the last look failed: no Kafka broker answered"
    watch.turn()
    assert why() == ""


def test_a_partition_that_nobody_has_is_graded(clock: FakeClock) -> None:
    watch = watching(clock, *[look(group(partition(owner=None), members=0))] * 4)
    for _ in range(4):
        watch.turn()
        clock.advance(20.0)

    (stopped,) = [labels for labels, value in series(watch, "elsa_group_partition_status").items() if value]
    assert 'status="stop"' in stopped
    assert watch.status()["groups"][0]["partitions"][0]["grade"] == "stop"
