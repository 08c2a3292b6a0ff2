"""Gauges of partitions: what lag is, and that nothing outlives an assignment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.observe import catalogue
from elsa.observe.exposition import Page
from elsa.observe.partitions import MOST_PARTITIONS, PartitionGauges, lag

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from elsa.observe.exposition import Family
    from elsa.observe.partitions import HandlerKey
    from elsa.observer import PartitionSnapshot

BILL = ("billing", "orders", "shop.bill")


class Watched:
    """PartitionGauges over snapshots that the test sets."""

    def __init__(self, clock: Any, labels: str = "auto") -> None:
        self.now: Sequence[PartitionSnapshot] = ()
        self.busy: dict[str, Counter[str]] = {}
        self._gauges = PartitionGauges(clock, labels)
        self._gauges.watch(lambda: self.now)

    def families(self, *known: HandlerKey, running: int = 0) -> list[Family]:
        page = Page()
        self.busy = self._gauges.collect(page, dict.fromkeys(known, running))
        return page.families()


@pytest.fixture
def watched(clock: Any) -> Watched:
    return Watched(clock)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, 10),
        ({"committed": 100, "position": 100}, 0),
        ({"committed": 120, "position": 120, "high_watermark": 119}, 0),
        ({"committed": 90, "position": 97, "high_watermark": 95}, 7),
        ({"committed": -1, "low_watermark": 10}, 90),
        ({"committed": -1, "low_watermark": -1}, 5),
        ({"committed": -1, "low_watermark": -1001, "position": -1001}, None),
        ({"end": 95}, 5),
        ({"end": 95, "high_watermark": -1}, 5),
        ({"high_watermark": -1}, None),
        ({"high_watermark": -1001}, None),
        ({"group": None, "committed": -1}, 5),
        ({"group": None, "committed": 10}, 5),
        ({"group": None, "committed": -1, "position": -1}, None),
    ],
    ids=[
        "committed",
        "caught-up",
        "never-negative",
        "stale-watermark",
        "nothing-committed",
        "nothing-committed-low-unknown",
        "nothing-known",
        "open-transaction",
        "only-asked-for",
        "end-unknown",
        "end-invalid",
        "standalone",
        "standalone-resumed",
        "standalone-unknown",
    ],
)
def test_lag(partition: Callable[..., PartitionSnapshot], facts: dict[str, Any], expected: int | None) -> None:
    assert expected == lag(partition(**facts))


def test_every_gauge_of_a_partition(watched: Watched, partition: Callable[..., Any], value: Callable[..., Any]) -> None:
    watched.now = [partition(3)]

    families = watched.families(BILL, running=1)

    where = {"group": "billing", "topic": "orders", "partition": "3"}
    assert value(families, "elsa_consumer_lag_messages", **where) == 10
    assert value(families, "elsa_consumer_lag_seconds", **where) == 60
    assert value(families, "elsa_consumer_committed_offset", **where) == 90
    assert value(families, "elsa_partition_high_watermark_offset", **where) == 100
    assert value(families, "elsa_uncommitted_messages", **where) == 1
    assert value(families, "elsa_partition_head_attempts", **where) == 1
    assert value(families, "elsa_messages_in_progress", handler="shop.bill") == 1
    assert value(families, "elsa_buffer_messages", topic="orders") == 4
    assert value(families, "elsa_partitions_assigned", topic="orders") == 1


def test_unknown_offsets_have_no_series(
    watched: Watched, partition: Callable[..., Any], value: Callable[..., Any]
) -> None:
    watched.now = [partition(committed=-1, high_watermark=-1, oldest_timestamp=None)]

    families = watched.families(BILL)

    for metric in (catalogue.LAG, catalogue.LAG_SECONDS, catalogue.COMMITTED, catalogue.HIGH_WATERMARK):
        assert value(families, metric.name) is None, metric.name
    assert min(sample[2] for family in families for sample in family[3]) >= 0


def test_a_revoked_partition_has_no_series_left_and_its_handler_shows_zero(
    watched: Watched, partition: Callable[..., Any], value: Callable[..., Any]
) -> None:
    watched.now = [partition(0), partition(1)]
    assert value(watched.families(BILL), "elsa_partitions_assigned") == 2
    watched.now = [partition(1)]
    assert value(watched.families(BILL), "elsa_consumer_lag_messages", partition="0") is None
    watched.now = []

    families = watched.families(BILL)

    assert not [sample for family in families for sample in family[3] if "partition" in dict(sample[1])]
    assert value(families, "elsa_partitions_assigned") == 0
    assert value(families, "elsa_messages_in_progress", handler="shop.bill") == 0
    assert value(families, "elsa_partitions_paused", reason="halted") == 0


@pytest.mark.parametrize(
    ("labels", "partitions", "has_own"),
    [
        ("auto", MOST_PARTITIONS, True),
        ("auto", MOST_PARTITIONS + 1, False),
        ("on", MOST_PARTITIONS + 1, True),
        ("off", 1, False),
    ],
)
def test_sums_by_topic_are_there_with_and_without_series_of_partitions(  # noqa: PLR0917 - parameters and fixtures
    clock: Any,
    partition: Callable[..., Any],
    value: Callable[..., Any],
    labels: str,
    partitions: int,
    has_own: bool,  # noqa: FBT001 - a parameter
) -> None:
    watched = Watched(clock, labels)
    watched.now = [partition(number, oldest_timestamp=1_000.0 - number) for number in range(partitions)]

    families = watched.families(BILL)

    own = [sample for family in families for sample in family[3] if "partition" in dict(sample[1])]
    assert len(own) == (6 * partitions if has_own else 0)
    assert value(families, "elsa_topic_lag_messages", topic="orders") == 10 * partitions
    assert value(families, "elsa_topic_lag_seconds", topic="orders") == partitions - 1
    assert value(families, "elsa_partitions_assigned", topic="orders") == partitions


def test_a_partition_that_goes_is_shown_by_nobody_here_but_its_calls_still_run(
    watched: Watched, partition: Callable[..., Any], value: Callable[..., Any]
) -> None:
    watched.now = [partition(0, is_leaving=True, running=1, limit=100), partition(1, running=2, limit=100)]

    families = watched.families(BILL, running=3)

    assert value(families, "elsa_consumer_lag_messages") == 10
    assert value(families, "elsa_consumer_lag_messages", partition="0") is None
    assert value(families, "elsa_topic_lag_messages") == 10
    assert value(families, "elsa_partitions_assigned") == 1
    assert value(families, "elsa_buffer_limit_messages") == 100
    assert watched.busy == {"billing": {"shop.bill": 3}}


def test_seconds_of_a_lag_with_nothing_in_hand_count_from_when_it_was_seen(
    watched: Watched, partition: Callable[..., Any], value: Callable[..., Any], clock: Any
) -> None:
    def age() -> Any:
        return value(watched.families(BILL), "elsa_consumer_lag_seconds")

    watched.now = [partition(oldest_timestamp=None)]
    assert age() == 0
    clock.steady += 30
    assert age() == 30
    watched.now = [partition(oldest_timestamp=None, committed=100, position=100)]
    assert age() == 0
    watched.now = [partition(oldest_timestamp=None)]
    clock.steady += 5

    assert age() == 0


def test_a_lag_that_is_never_zero_when_looked_at_is_not_old_while_it_moves(
    watched: Watched, partition: Callable[..., Any], value: Callable[..., Any], clock: Any
) -> None:
    for committed in range(90, 96):
        clock.steady += 15
        watched.now = [partition(oldest_timestamp=None, committed=committed, position=committed)]
        assert value(watched.families(BILL), "elsa_consumer_lag_seconds") == 0
    clock.steady += 15

    assert value(watched.families(BILL), "elsa_consumer_lag_seconds") == 15


def test_a_producers_clock_that_runs_ahead_does_not_make_age_negative(
    watched: Watched, partition: Callable[..., Any], value: Callable[..., Any]
) -> None:
    watched.now = [partition(oldest_timestamp=2_000.0)]

    assert value(watched.families(BILL), "elsa_consumer_lag_seconds") == 0


def test_paused_partitions_are_counted_by_reason(
    watched: Watched, partition: Callable[..., Any], value: Callable[..., Any]
) -> None:
    watched.now = [partition(0, paused="retry"), partition(1, paused="retry"), partition(2)]

    families = watched.families(BILL)

    assert value(families, "elsa_partitions_paused", reason="retry") == 2
    assert value(families, "elsa_partitions_paused", reason="backpressure") == 0


def test_tasks_that_share_a_topic_share_its_partition_series(
    watched: Watched, partition: Callable[..., Any], value: Callable[..., Any]
) -> None:
    watched.now = [partition(handler="welcome"), partition(handler="bye")]

    families = watched.families(("billing", "orders", "welcome"), ("billing", "orders", "bye"))

    assert value(families, "elsa_consumer_lag_messages") == 10
    assert value(families, "elsa_partitions_assigned") == 1


def test_a_pattern_is_the_topic_label_except_of_partitions(
    watched: Watched, partition: Callable[..., Any], value: Callable[..., Any]
) -> None:
    watched.now = [partition(topic="orders.eu"), partition(topic="orders.us"), partition(topic="else")]

    families = watched.families(("billing", r"^orders\.", "shop.bill"))

    assert value(families, "elsa_partitions_assigned", topic=r"^orders\.") == 2
    assert value(families, "elsa_partitions_assigned", topic="else") == 1
    assert value(families, "elsa_consumer_lag_messages", topic="orders.eu") == 10


def test_a_failing_snapshot_hides_only_its_own_partitions(
    watched: Watched, partition: Callable[..., Any], value: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    def torn_down() -> Sequence[PartitionSnapshot]:
        raise RuntimeError("stopped")

    watched.now = [partition()]
    watched._gauges.watch(torn_down)

    assert value(watched.families(BILL), "elsa_consumer_lag_messages") == 10
    assert "partitions can not be shown in the metrics" in caplog.text
