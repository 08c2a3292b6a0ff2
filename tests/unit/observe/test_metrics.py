"""Every event ends up in its metric, exactly once, from any number of threads."""

from __future__ import annotations

import subprocess
import sys
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from elsa.message import TopicPartition
from elsa.observe import catalogue, metrics
from elsa.observe.catalogue import CATALOGUE
from elsa.observe.exposition import from_prometheus
from elsa.observe.metrics import MAX_TOPICS, PrometheusObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.observer import PartitionSnapshot

BROKER = {"nodeid": 1, "txerrs": 1, "rxerrs": 2, "connects": 1, "rtt": {"cnt": 4, "avg": 1_500, "p99": 9_000}}
STATISTICS = {
    "name": "c-1",
    "rxmsg_bytes": 700,
    "cgrp": {"join_state": "steady"},
    "brokers": {
        "host:1/1": BROKER,
        "GroupCoordinator": {**BROKER, "source": "logical", "rtt": {"cnt": 0}},
        "host:1/bootstrap": {**BROKER, "nodeid": -1},
    },
}


@pytest.fixture
def observer(clock: Any) -> PrometheusObserver:
    return PrometheusObserver(clock=clock)


def tell_everything(observer: PrometheusObserver, partition: Callable[..., Any]) -> None:
    handler, group = observer.handler("billing", "orders", "shop.bill"), observer.group("billing")
    handler.received(5, 500)
    handler.started(5)
    handler.ended(3)
    handler.finished([0.001, 0.2, 400.0], {"ok": 2, "dead": 1})
    handler.waited([(0.2, 3), (40.0, 1)])
    handler.aged([(0.4, 2)])
    handler.batched(100)
    handler.exception(ValueError("no"), 1)
    handler.expired(4)
    handler.dead_letter("exhausted")
    handler.dead_letter("customer 17 unknown")
    handler.dead_letter("customer 18 unknown")
    group.assigned([("orders", 0)])
    group.revoked([("orders", 0)], 0.3)
    group.lost([("orders", 0)])
    group.committed("ok", 0.004, {TopicPartition("orders", 0): 5})
    group.committed("error", 0.004, {})
    group.polled(1.0)
    group.restarted("partition", "ValueError: boom")
    group.stale(3)
    group.halted(("orders", 0), "poison")
    group.error("_TRANSPORT", "broker away")
    group.statistics(STATISTICS)
    group.spent({"poll": 0.5, "idle": 1.5})
    group.spent({"poll": 0.25})
    group.slots({"shop.bill": {"shop.bill": 8}})
    observer.loop_lagged(0.02)
    observer.watch_queue("producer", lambda: (7, 1_000))
    observer.statistics("producer", {"name": "p-1", "brokers": {"b": {**BROKER, "connects": 3}}})
    mover = observer.mover()
    mover.moved({"delivered": 3, "passed_on": 2}, [0.2, 0.3, 1.4])
    mover.moved({"cancelled": 1}, [])
    mover.due(6)
    mover.aborted("_MSG_TIMED_OUT")
    schedule = observer.schedule("nightly")
    schedule.fired([0.2, 0.4])
    schedule.missed(3)
    schedule.held(2)
    observer.sent("orders", "ok", 0.002, None)
    observer.sent("orders", "error", 120.0, "_MSG_TIMED_OUT")
    observer.throttled("producer", "1", 0.5)
    observer.observer_failed("Mine", "sent", ValueError())
    observer.watch(lambda: [partition(limit=6_000, running=3)])


def test_every_metric_of_a_process_is_exported_and_no_other(
    observer: PrometheusObserver, partition: Callable[..., Any]
) -> None:
    tell_everything(observer, partition)
    of_the_supervisor = (catalogue.PROCESSES, catalogue.PROCESS_RESTARTS, catalogue.STALE_PROCESSES)
    of_others = {metric.name for metric in (*of_the_supervisor, *catalogue.OF_MONITOR)}

    assert CATALOGUE.keys() - of_others == {family[0] for family in observer.families()}


def test_handlers_that_share_a_pool_have_the_places_that_others_leave_them(
    observer: PrometheusObserver, partition: Callable[..., Any], value: Callable[..., Any]
) -> None:
    observer.group("billing").slots({"a": {"threads": 8}, "b": {"threads": 8}})
    observer.group("billing").slots({"c": {"c": 2}})
    running = {"a": 5, "b": 3, "c": 1}
    observer.watch(lambda: [partition(topic=name, handler=name, running=count) for name, count in running.items()])

    def shown(series: str) -> list[float | None]:
        return [value(observer.families(), series, group="billing", handler=name) for name in running]

    assert shown("elsa_worker_slots") == [5, 3, 2]
    running |= {"a": 8, "b": 0}
    assert shown("elsa_worker_slots") == [8, 1, 2]
    running["a"] = 5
    assert shown("elsa_worker_slots") == [8, 3, 2]
    assert shown("elsa_worker_slots_busy") == [5, 0, 1]


def test_every_sample_has_the_labels_of_its_metric(observer: PrometheusObserver, partition: Callable[..., Any]) -> None:
    tell_everything(observer, partition)

    for name, _, _, samples in observer.families():
        for series, labels, _, _ in samples:
            extra = ("le",) if series.endswith("_bucket") else ()
            assert CATALOGUE[name].labels + extra == tuple(key for key, _ in labels)


@pytest.mark.parametrize(
    ("series", "labels", "expected"),
    [
        ("elsa_messages_received_total", {"group": "billing", "topic": "orders"}, 5),
        ("elsa_received_bytes_total", {}, 500),
        ("elsa_messages_expired_total", {"handler": "shop.bill"}, 4),
        ("elsa_delayed_messages_total", {"outcome": "delivered"}, 3),
        ("elsa_delayed_messages_total", {"outcome": "cancelled"}, 1),
        ("elsa_delayed_messages_total", {"outcome": "undeliverable"}, 0),
        ("elsa_delayed_due_messages", {}, 6),
        ("elsa_delayed_lateness_seconds_count", {}, 3),
        ("elsa_delayed_aborts_total", {"error_type": "_MSG_TIMED_OUT"}, 1),
        ("elsa_messages_processed_total", {"handler": "shop.bill", "outcome": "ok"}, 2),
        ("elsa_messages_processed_total", {"outcome": "dead"}, 1),
        ("elsa_messages_processed_total", {"outcome": "abandoned"}, 0),
        ("elsa_process_duration_seconds_bucket", {"le": "0.005"}, 1),
        ("elsa_process_duration_seconds_bucket", {"le": "300.0"}, 2),
        ("elsa_process_duration_seconds_count", {}, 3),
        ("elsa_process_duration_seconds_sum", {}, 400.201),
        ("elsa_handler_exceptions_total", {"error_type": "ValueError"}, 1),
        ("elsa_dead_letters_total", {"reason": "exhausted"}, 1),
        ("elsa_dead_letters_total", {"reason": "decode"}, 0),
        ("elsa_dead_letters_total", {"reason": "_OTHER"}, 2),
        ("elsa_queue_wait_seconds_count", {"group": "billing", "topic": "orders"}, 4),
        ("elsa_queue_wait_seconds_sum", {}, 40.6),
        ("elsa_queue_wait_seconds_bucket", {"le": "0.25"}, 3),
        ("elsa_end_to_end_latency_seconds_count", {}, 2),
        ("elsa_batch_messages_bucket", {"le": "100.0"}, 1),
        ("elsa_batch_messages_bucket", {"le": "50.0"}, 0),
        ("elsa_worker_seconds_total", {"state": "poll"}, 0.75),
        ("elsa_worker_seconds_total", {"state": "idle"}, 1.5),
        ("elsa_worker_seconds_total", {"state": "commit"}, 0),
        ("elsa_worker_slots", {"group": "billing", "handler": "shop.bill"}, 8),
        ("elsa_worker_slots_busy", {"group": "billing", "handler": "shop.bill"}, 3),
        ("elsa_event_loop_lag_seconds_count", {}, 1),
        ("elsa_producer_queue_messages", {"client": "producer"}, 7),
        ("elsa_producer_queue_limit_messages", {}, 1_000),
        ("elsa_buffer_limit_messages", {"topic": "orders"}, 6_000),
        ("elsa_group_stable", {"group": "billing"}, 1),
        ("elsa_kafka_broker_rtt_seconds", {"client": "consumer", "broker": "1", "stat": "avg"}, 0.0015),
        ("elsa_kafka_broker_rtt_seconds", {"client": "consumer", "broker": "1", "stat": "p99"}, 0.009),
        ("elsa_kafka_broker_rtt_seconds", {"broker": "coordinator", "stat": "avg"}, None),
        ("elsa_kafka_broker_errors_total", {"client": "consumer", "broker": "1", "direction": "received"}, 2),
        ("elsa_kafka_broker_connects_total", {"client": "producer", "broker": "1"}, 3),
        ("elsa_kafka_broker_connects_total", {"broker": "bootstrap"}, 1),
        ("elsa_topic_lag_messages", {"group": "billing", "topic": "orders"}, 10),
        ("elsa_topic_lag_seconds", {}, 60),
        ("elsa_messages_in_progress", {"handler": "shop.bill"}, 2),
        ("elsa_buffer_messages", {"topic": "orders"}, 3),
        ("elsa_rebalances_total", {"event": "assigned"}, 1),
        ("elsa_rebalances_total", {"event": "revoked"}, 1),
        ("elsa_rebalances_total", {"event": "lost"}, 1),
        ("elsa_rebalance_duration_seconds_sum", {}, 0.3),
        ("elsa_commits_total", {"outcome": "ok"}, 1),
        ("elsa_commits_total", {"outcome": "error"}, 1),
        ("elsa_commit_duration_seconds_count", {}, 2),
        ("elsa_last_poll_timestamp_seconds", {}, 1_000.0),
        ("elsa_last_commit_timestamp_seconds", {}, 1_000.0),
        ("elsa_restarts_total", {"what": "partition"}, 1),
        ("elsa_restarts_total", {"what": "executor"}, 0),
        ("elsa_partitions_halted_total", {"topic": "orders"}, 1),
        ("elsa_stale_results_total", {}, 3),
        ("elsa_kafka_client_errors_total", {"error_type": "_TRANSPORT"}, 1),
        ("elsa_fetched_bytes_total", {}, 700),
        ("elsa_messages_sent_total", {"topic": "orders", "outcome": "ok"}, 1),
        ("elsa_messages_sent_total", {"outcome": "error"}, 1),
        ("elsa_send_errors_total", {"error_type": "_MSG_TIMED_OUT"}, 1),
        ("elsa_send_duration_seconds_count", {}, 2),
        ("elsa_observer_errors_total", {"observer": "Mine"}, 1),
        ("elsa_schedule_fires_total", {"schedule": "nightly"}, 2),
        ("elsa_schedule_missed_total", {"schedule": "nightly"}, 3),
        ("elsa_schedule_due_messages", {"schedule": "nightly"}, 2),
        ("elsa_schedule_delay_seconds_sum", {"schedule": "nightly"}, 0.6),
        ("elsa_schedule_delay_seconds_count", {"schedule": "nightly"}, 2),
        ("elsa_consumer_lag_messages", {"partition": "0"}, 10),
        ("elsa_build_info", {"version": "0.1.0"}, 1),
    ],
)
def test_what_is_told_is_what_is_shown(  # noqa: PLR0917 - parameters and fixtures
    observer: PrometheusObserver,
    partition: Callable[..., Any],
    value: Callable[..., Any],
    series: str,
    labels: dict[str, str],
    expected: float,
) -> None:
    tell_everything(observer, partition)

    assert expected == pytest.approx(value(observer.families(), series, **labels))


def test_a_new_handler_shows_every_outcome_at_zero(observer: PrometheusObserver, value: Callable[..., Any]) -> None:
    observer.handler(None, "orders", "audit")

    families = observer.families()

    for outcome in catalogue.OUTCOMES:
        assert value(families, "elsa_messages_processed_total", group="", outcome=outcome) == 0


def test_dead_letters_of_every_reason_begin_at_zero_so_that_the_first_one_is_an_increase(
    observer: PrometheusObserver, value: Callable[..., Any]
) -> None:
    observer.handler("billing", "orders", "shop.bill")
    families = observer.families()

    for reason in (*catalogue.DEAD_REASONS, catalogue.OTHER):
        assert value(families, "elsa_dead_letters_total", reason=reason) == 0


def test_the_same_names_get_the_same_counters(observer: PrometheusObserver) -> None:
    assert observer.handler("g", "t", "h") is observer.handler("g", "t", "h")
    assert observer.handler("g", "t", "h") is not observer.handler("g", "t", "other")
    assert observer.group(None) is observer.group(None)


def test_what_tasks_receive_is_summed_per_topic_and_dead_letters_are_each_ones_own(
    observer: PrometheusObserver, value: Callable[..., Any]
) -> None:
    for name in ("welcome", "bye"):
        handler = observer.handler("g", "emails", name)
        handler.received(2, 20)
        handler.dead_letter("unknown")

    families = observer.families()

    assert value(families, "elsa_messages_received_total") == 4
    assert value(families, "elsa_received_bytes_total") == 40
    for name in ("welcome", "bye"):
        assert value(families, "elsa_dead_letters_total", handler=name, reason="unknown") == 1


def test_more_than_fifty_classes_of_exceptions_become_other(
    observer: PrometheusObserver, value: Callable[..., Any]
) -> None:
    handler = observer.handler("g", "t", "h")
    for number in range(60):
        handler.exception(type(f"Error{number}", (Exception,), {"__module__": "shop"})(), 1)

    families = observer.families()

    assert value(families, "elsa_handler_exceptions_total", error_type="shop.Error49") == 1
    assert value(families, "elsa_handler_exceptions_total", error_type="_OTHER") == 10


def test_a_slice_without_calls_counts_outcomes_only(observer: PrometheusObserver, value: Callable[..., Any]) -> None:
    observer.handler("g", "t", "h").finished([], {"skipped": 7})

    families = observer.families()

    assert value(families, "elsa_messages_processed_total", outcome="skipped") == 7
    assert value(families, "elsa_process_duration_seconds_count") == 0


def test_topics_above_the_limit_share_one_series(observer: PrometheusObserver, value: Callable[..., Any]) -> None:
    for number in range(MAX_TOPICS + 5):
        observer.sent(f"t{number}", "ok", 0.01, None)

    assert value(observer.families(), "elsa_messages_sent_total", topic="_OTHER", outcome="ok") == 5


def test_a_rebuilt_clients_statistics_do_not_lower_the_sum(
    observer: PrometheusObserver, value: Callable[..., Any]
) -> None:
    group = observer.group("g")
    for name, octets in (("c-1", 100), ("c-1", 250), ("c-2", 40), ("c-1", 10)):
        group.statistics({"name": name, "rxmsg_bytes": octets})

    assert value(observer.families(), "elsa_fetched_bytes_total") == 250 + 40 + 10


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads take turns every few bytecodes, so that a missing lock shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_switches")
def test_nothing_is_lost_between_threads_and_scrapes(
    observer: PrometheusObserver, value: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "PENDING_REPORTS", 4)
    handler, gate = observer.handler("g", "t", "h"), Barrier(5)

    def work() -> None:
        gate.wait()
        for _ in range(2_000):
            handler.finished([0.001, 9.0], {"ok": 1, "failed": 1})
            observer.sent("t", "ok", 0.2, None)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.wait()
    while any(thread.is_alive() for thread in threads):
        observer.families()
    for thread in threads:
        thread.join()
    families = observer.families()

    calls = 4 * 2_000
    assert calls == value(families, "elsa_messages_processed_total", outcome="failed")
    assert 2 * calls == value(families, "elsa_process_duration_seconds_count")
    assert calls == value(families, "elsa_messages_sent_total", outcome="ok")
    assert calls == value(families, "elsa_send_duration_seconds_count")


def test_it_stands_in_a_prometheus_registry_beside_the_users_own_metrics(
    clock: Any, partition: Callable[..., Any], value: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = CollectorRegistry()
    Counter("carts", "Carts.", registry=registry).inc()
    observer = PrometheusObserver(registry, clock=clock)
    tell_everything(observer, partition)

    families = list(from_prometheus(registry.collect()))

    assert observer.families() == families[1:]
    assert value(families, "carts_total") == 1


def test_counting_does_not_need_prometheus_client() -> None:
    code = (
        "import sys; from elsa.observe.metrics import PrometheusObserver as P; import elsa.observe.merge as m;"
        "m.snapshot(P()); m.Merger().render();"
        "print([n for n in ('prometheus_client', 'opentelemetry', 'confluent_kafka', 'rich') if n in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert output.strip() == "[]"


def test_a_throttle_that_nobody_hears_the_end_of_ends_by_itself(clock: Any, value: Callable[..., Any]) -> None:
    observer = PrometheusObserver(clock=clock)
    observer.throttled("consumer", "1", 2.5)
    labels = {"client": "consumer", "broker": "1"}

    assert value(observer.families(), "elsa_kafka_broker_throttle_seconds", **labels) == 2.5
    clock.steady += 63
    assert value(observer.families(), "elsa_kafka_broker_throttle_seconds", **labels) == 0
    observer.throttled("consumer", "1", 1.0)
    observer.throttled("consumer", "1", 0.0)
    assert value(observer.families(), "elsa_kafka_broker_throttle_seconds", **labels) == 0


def test_a_process_reports_what_its_handlers_have_done(observer: PrometheusObserver) -> None:
    handler = observer.handler("billing", "orders", "shop.bill")
    handler.started(3)
    handler.finished([0.002, 0.02], {"ok": 1, "failed": 1})
    handler.exception(ValueError(), 1)
    handler.ended(2)
    (tally,) = observer.tallies()

    assert (tally.group, tally.topic, tally.handler) == ("billing", "orders", "shop.bill")
    assert (tally.running, tally.outcomes, tally.exceptions) == (1, {"ok": 1, "failed": 1}, 1)
    # up to the last bucket that has a call
    assert tally.spread == [(0.005, 1), (0.01, 0), (0.025, 1)]
    assert observer.handler(None, "mails", "shop.mail") is not None
    assert observer.tallies()[1].group is None


def test_of_tasks_that_share_a_topic_only_those_that_have_run_are_reported(observer: PrometheusObserver) -> None:
    for name in ("tasks of jobs", "mail", "bill", "idle"):
        observer.handler("shop", "jobs", name)
    observer.handler("shop", "jobs", "mail").finished([], {"skipped": 1})
    observer.handler("shop", "jobs", "bill").started(1)
    # two handlers without a group share a topic, and are no tasks
    for name in ("first", "second"):
        observer.handler(None, "jobs", name)

    assert [tally.handler for tally in observer.tallies()] == ["tasks of jobs", "mail", "bill", "first", "second"]


def test_slots_and_lag_of_tasks_are_those_of_their_topic(
    observer: PrometheusObserver, partition: Callable[..., PartitionSnapshot], value: Callable[..., Any]
) -> None:
    together = "tasks of jobs"
    for name in (together, "mail", "bill"):
        observer.handler("shop", "jobs", name)
    observer.handler("shop", "jobs", "bill").started(2)
    observer.group("shop").slots({together: {"pool": 8}})
    owned = [partition(group="shop", topic="jobs", handler=together, in_progress=3, running=2)]
    observer.watch(lambda: owned)

    def values() -> list[Any]:
        families = observer.families()
        return [
            value(families, "elsa_worker_slots", handler=together),
            value(families, "elsa_worker_slots_busy", handler=together),
            value(families, "elsa_partitions_assigned", topic="jobs"),
            value(families, "elsa_topic_lag_messages", topic="jobs"),
            value(families, "elsa_consumer_lag_messages", topic="jobs"),
            value(families, "elsa_buffer_messages", topic="jobs"),
            *(value(families, "elsa_messages_in_progress", handler=name) for name in ("mail", "bill", together)),
        ]

    assert values() == [8, 2, 1, 10, 10, 3 + 3 - 2, 0, 2, 0]
    owned.clear()
    observer.handler("shop", "jobs", "bill").ended(2)
    assert values() == [8, 0, 0, 0, None, 0, 0, 0, 0]
