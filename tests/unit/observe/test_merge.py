"""Several processes read as one, and no counter falls when one of them dies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Summary

from elsa.observe import merge
from elsa.observe.merge import Merger, pack, snapshot, unpack
from elsa.observe.metrics import PrometheusObserver

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.observe.exposition import Family


@pytest.fixture
def merger(clock: Any) -> Merger:
    return Merger(stale_after=30.0, clock=clock)


@pytest.fixture
def worker(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Family]]:
    """`worker(life, ok, **partition)` is the snapshot of one process that handled `ok` messages."""

    def make(life: str, ok: int, *partitions: Any) -> list[Family]:
        observer = PrometheusObserver(clock=clock)
        handler = observer.handler("billing", "orders", "shop.bill")
        handler.finished([0.01] * ok, {"ok": ok})
        handler.started(2)
        observer.watch(lambda: partitions)
        monkeypatch.setattr(merge, "_BORN", life)
        return snapshot(observer)

    return make


def sampled(clock: Any, now: float, *traces: str) -> list[Family]:
    """The snapshot of a process that handled messages of these traces, at that time, each in 0.03 s."""
    clock.wall = now
    observer = PrometheusObserver(clock=clock)
    handler = observer.handler("billing", "orders", "shop.bill")
    for trace in traces:
        handler.sampled(0.03, trace)
    handler.finished([0.03] * len(traces), {"ok": len(traces)})
    return observer.families()


def exemplars(families: list[Family]) -> dict[str, str]:
    """The traces by the bounds of their buckets."""
    return {
        dict(labels)["le"]: dict(exemplar[0])["trace_id"]
        for _, _, _, samples in families
        for _, labels, _, exemplar in samples
        if exemplar is not None
    }


def test_of_exemplars_the_newest_is_kept(merger: Merger, clock: Any) -> None:
    merger.update(1, sampled(clock, 20.0, "newer", "newest"))
    merger.update(2, sampled(clock, 10.0, "older"))

    assert exemplars(merger.families()) == {"0.05": "newest"}


def test_an_exemplar_outlives_its_process(merger: Merger, clock: Any) -> None:
    merger.update(1, sampled(clock, 20.0, "of the dead"))
    merger.end(1)
    assert exemplars(merger.families()) == {"0.05": "of the dead"}
    merger.update(2, sampled(clock, 10.0, "older"))
    assert exemplars(merger.families()) == {"0.05": "of the dead"}
    merger.update(2, sampled(clock, 30.0, "of the successor"))

    assert exemplars(merger.families()) == {"0.05": "of the successor"}


def test_counters_and_histograms_are_summed(
    merger: Merger, worker: Callable[..., list[Family]], value: Callable[..., Any]
) -> None:
    merger.update(1, worker("a", 3))
    merger.update(2, worker("b", 4))

    families = merger.families()

    assert value(families, "elsa_messages_processed_total", outcome="ok") == 7
    assert value(families, "elsa_process_duration_seconds_count") == 7
    assert value(families, "elsa_process_duration_seconds_bucket", le="0.01") == 7
    assert value(families, "elsa_process_duration_seconds_sum") == pytest.approx(0.07)


def test_the_newest_snapshot_replaces_the_one_before(
    merger: Merger, worker: Callable[..., list[Family]], value: Callable[..., Any]
) -> None:
    merger.update(1, worker("a", 3))
    merger.update(1, worker("a", 5))

    assert value(merger.families(), "elsa_messages_processed_total", outcome="ok") == 5


def test_an_ended_process_leaves_its_counts_and_takes_its_gauges(
    merger: Merger, worker: Callable[..., list[Family]], partition: Callable[..., Any], value: Callable[..., Any]
) -> None:
    merger.update(1, worker("a", 3, partition(0)))
    merger.update(2, worker("b", 4, partition(1)))
    merger.end(1)
    merger.end(1)
    merger.end("never seen")
    merger.update(3, worker("c", 1))

    families = merger.families()

    assert value(families, "elsa_messages_processed_total", outcome="ok") == 8
    assert value(families, "elsa_consumer_lag_messages", partition="0") is None
    assert value(families, "elsa_consumer_lag_messages", partition="1") == 10


def test_a_late_snapshot_of_an_ended_process_is_not_counted_again(
    merger: Merger, worker: Callable[..., list[Family]], value: Callable[..., Any]
) -> None:
    late = worker("a", 3)
    merger.update("slot-0", late)
    merger.end("slot-0")
    merger.update("slot-0", late)
    assert value(merger.families(), "elsa_messages_processed_total", outcome="ok") == 3
    merger.update("slot-0", worker("its successor", 1))

    assert value(merger.families(), "elsa_messages_processed_total", outcome="ok") == 4


def test_a_successor_in_the_same_slot_ends_its_predecessor(
    merger: Merger, worker: Callable[..., list[Family]], value: Callable[..., Any]
) -> None:
    merger.update("slot-0", worker("a", 3))
    merger.update("slot-0", worker("b", 1))

    assert value(merger.families(), "elsa_messages_processed_total", outcome="ok") == 4


def test_gauges_follow_the_rule_of_the_catalogue(
    merger: Merger, worker: Callable[..., list[Family]], partition: Callable[..., Any], value: Callable[..., Any]
) -> None:
    merger.update(1, worker("a", 0, partition(0, committed=80)))
    merger.update(2, worker("b", 0, partition(0, committed=90)))

    families = merger.families()

    assert value(families, "elsa_consumer_lag_messages") == 20
    assert value(families, "elsa_consumer_committed_offset") == 90
    assert value(families, "elsa_messages_in_progress") == 4
    assert value(families, "elsa_build_info") == 1


def test_of_last_polls_the_oldest_is_shown(merger: Merger, clock: Any, value: Callable[..., Any]) -> None:
    for process, wall in ((1, 1_000.0), (2, 1_060.0)):
        clock.wall = wall
        observer = PrometheusObserver(clock=clock)
        observer.group("billing").polled(wall)
        merger.update(process, observer.families())

    assert value(merger.families(), "elsa_last_poll_timestamp_seconds") == 1_000.0


def test_users_own_metrics_are_merged_too_and_their_gauges_keep_the_process(
    merger: Merger, value: Callable[..., Any]
) -> None:
    for process in (1, 2):
        registry = CollectorRegistry()
        Counter("carts", "Carts.", registry=registry).inc(process)
        Gauge("depth", "Depth.", registry=registry).set(process * 10)
        Summary("size", "Size.", registry=registry).observe(5)
        merger.update(process, snapshot(registry))
    merger.end(1)

    families = merger.families()

    assert value(families, "carts_total") == 3
    assert value(families, "depth", process="1") is None
    assert value(families, "depth", process="2") == 20
    assert value(families, "size_sum") == 10


def test_a_snapshot_travels_packed(
    merger: Merger, clock: Any, worker: Callable[..., list[Family]], partition: Callable[..., Any]
) -> None:
    sent = [*worker("a", 3, partition(0)), *sampled(clock, 5.0, "a" * 32)]
    direct = Merger(clock=clock)
    direct.update(1, sent)
    merger.update(1, unpack(pack(sent)))

    assert direct.render(openmetrics=True) == merger.render(openmetrics=True)


def test_a_silent_process_keeps_its_values_and_is_counted_as_stale(
    merger: Merger, worker: Callable[..., list[Family]], clock: Any, value: Callable[..., Any]
) -> None:
    merger.update(1, worker("a", 3))
    clock.steady += 31
    merger.update(2, worker("b", 3))

    families = merger.families()

    assert value(families, "elsa_scrape_stale_processes") == 1
    assert value(families, "elsa_messages_processed_total", outcome="ok") == 6


def test_who_has_not_answered_this_scrape_is_stale_however_short_that_is(
    merger: Merger, worker: Callable[..., list[Family]], value: Callable[..., Any]
) -> None:
    merger.update(1, worker("a", 3))

    assert value(merger.families(stale=1), "elsa_scrape_stale_processes") == 1


def test_the_supervisors_own_facts_stand_on_the_page_from_the_start(merger: Merger, value: Callable[..., Any]) -> None:
    assert value(merger.families(), "elsa_worker_restarts_total", reason="signal") == 0
    merger.add("elsa_worker_restarts_total", reason="signal")
    merger.add("elsa_worker_restarts_total", reason="signal")
    merger.set("elsa_worker_processes", 2, state="running")

    families = merger.families()

    assert value(families, "elsa_worker_restarts_total", reason="signal") == 2
    assert value(families, "elsa_worker_processes", state="running") == 2


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("elsa_invented_total", {}),
        ("elsa_worker_processes", {"state": "running"}),
        ("elsa_worker_restarts_total", {"why": "signal"}),
    ],
)
def test_what_the_catalogue_does_not_have_is_refused(merger: Merger, name: str, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is not a counter of"):
        merger.add(name, **labels)


def test_ends_of_long_ago_are_forgotten(
    merger: Merger, monkeypatch: pytest.MonkeyPatch, worker: Callable[..., list[Family]]
) -> None:
    monkeypatch.setattr(merge, "REMEMBERED_ENDS", 2)
    for process in range(5):
        merger.update(process, worker(str(process), 0))
        merger.end(process)

    assert list(merger._ended_lives) == [3, 4]


def test_the_page_is_in_openmetrics_when_asked(merger: Merger) -> None:
    assert merger.render(openmetrics=True).endswith(b"# EOF\n")
    assert b"EOF" not in merger.render()


def seconds(value: float, *, histogram: float = 0.0) -> list[Family]:
    return [
        ("busy_seconds_total", "counter", "Busy.", [("busy_seconds_total", (), value, None)]),
        ("run_seconds", "histogram", "Runs.", [("run_seconds_sum", (), histogram or value, None)]),
    ]


def values(merger: Merger) -> dict[str, float]:
    return {
        sample: value
        for _, _, _, samples in merger.families()
        for sample, _, value, _ in samples
        if sample.startswith(("busy", "run"))
    }


@given(
    found=st.lists(st.floats(0.0, 1e12), min_size=2, max_size=6),
    order=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=20),
)
def test_sums_never_fall_in_whatever_order_processes_answer_and_end(
    found: list[float], order: list[tuple[int, bool]]
) -> None:
    merger, seen = Merger(), {"busy_seconds_total": 0.0, "run_seconds_sum": 0.0}
    ended = set()
    for number, value in enumerate(found):
        merger.update(number, seconds(value))
    for place, is_end in [(0, False), *order, (0, False)]:
        before, seen = seen, values(merger)
        assert all(seen[name] >= before[name] for name in before), (before, seen)
        number = place % len(found)
        if is_end:
            merger.end(number)
            ended.add(number)
        elif number not in ended:
            merger.update(number, seconds(found[number]))
    assert values(merger)["busy_seconds_total"] == pytest.approx(sum(found))


@pytest.mark.parametrize("odd", [float("inf"), float("nan")])
def test_what_is_no_finite_number_is_passed_on(odd: float) -> None:
    merger = Merger()
    merger.update(1, seconds(1.0, histogram=odd))
    merger.update(2, seconds(2.0))

    assert str(values(merger)["run_seconds_sum"]) == str(odd)
    assert values(merger)["busy_seconds_total"] == 3.0
