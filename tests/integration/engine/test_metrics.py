"""What the metrics say while the real engine works on a real Kafka."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.observe.metrics import PrometheusObserver

from .waiting import Log, Seen, total, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics

    MakeApp = Callable[..., elsa.App]

pytestmark = pytest.mark.broker


@pytest.fixture
def metrics() -> PrometheusObserver:
    return PrometheusObserver()


@pytest.fixture
def app(make_app: MakeApp, metrics: PrometheusObserver) -> elsa.App:
    return make_app(observer=metrics)


def count(metrics: PrometheusObserver, name: str, **labels: str) -> float:
    """Of a histogram or a counter; 0 while there is none."""
    families = {family[0] for family in metrics.families()}
    base = name.removesuffix("_count").removesuffix("_sum")
    found = {family: samples for family, _, _, samples in metrics.families()}
    if base not in families:
        return 0
    return sum(v for sample, pairs, v, _ in found[base] if sample == name and labels.items() <= dict(pairs).items())


@pytest.mark.parametrize("ordering", ["partition", "key", "none"])
@pytest.mark.parametrize("kind", ["threads", "loop"])
def test_every_message_has_waited_once_and_ends_once(
    app: elsa.App, metrics: PrometheusObserver, topic: Topics, ordering: str, kind: str
) -> None:
    name = topic(2)
    seen: Seen[str] = Seen()
    if kind == "loop":

        @app.handler(name, ordering=ordering)
        async def handle_async(body: str) -> None:
            seen(body)

    else:

        @app.handler(name, ordering=ordering)
        def handle(body: str) -> None:
            seen(body)

    app.produce(name, [(str(number % 7), b'"x"') for number in range(300)])
    with app:
        seen.wait(300)
        until(lambda: count(metrics, "elsa_messages_processed_total", outcome="ok") == 300, "all are counted")
        until(lambda: count(metrics, "elsa_end_to_end_latency_seconds_count", topic=name) == 300, "all are timed")

        assert count(metrics, "elsa_queue_wait_seconds_count", topic=name) == 300
        assert 0 <= count(metrics, "elsa_queue_wait_seconds_sum", topic=name) < 300 * 10
        assert 0 < count(metrics, "elsa_end_to_end_latency_seconds_sum", topic=name) < 300 * 60


def test_a_retry_waits_once_and_ages_from_its_first_send(
    app: elsa.App, metrics: PrometheusObserver, topic: Topics
) -> None:
    name = topic(1)
    attempts: Seen[int] = Seen()

    @app.handler(name, retry=elsa.Retry(max_attempts=3, base=0.3, jitter=False))
    def handle(body: str, ctx: elsa.Context) -> None:
        attempts(ctx.attempt)
        if ctx.attempt < 3:
            raise ValueError(body)

    app.produce(name, ["x"])
    with app:
        attempts.wait(3)
        until(lambda: count(metrics, "elsa_end_to_end_latency_seconds_count") == 1, "its success is timed")

    assert count(metrics, "elsa_queue_wait_seconds_count") == 1
    # two pauses of 0.3 s and 0.6 s lie between
    assert count(metrics, "elsa_end_to_end_latency_seconds_sum") >= 0.9


def test_through_a_retry_topic_the_age_counts_from_the_first_send(
    app: elsa.App, metrics: PrometheusObserver, topic: Topics
) -> None:
    name = topic(1)
    attempts: Seen[int] = Seen()

    @app.handler(name, retry=elsa.Retry(max_attempts=2, base=1.0, jitter=False, where="topic"))
    def handle(body: str, ctx: elsa.Context) -> None:
        attempts(ctx.attempt)
        if ctx.attempt < 2:
            raise ValueError(body)

    app.produce(name, ["x"])
    with app:
        attempts.wait(2, 40)
        until(lambda: count(metrics, "elsa_end_to_end_latency_seconds_count") == 1, "its success is timed")

    assert count(metrics, "elsa_end_to_end_latency_seconds_sum") >= 1.0


def test_what_fails_or_is_deferred_has_no_age_before_it_succeeds(
    app: elsa.App, metrics: PrometheusObserver, topic: Topics
) -> None:
    name = topic(1)
    contexts: Seen[elsa.Context] = Seen()

    @app.handler(name, retry=None)
    def handle(body: str, ctx: elsa.Context) -> object:
        if body == "dead":
            raise ValueError(body)
        contexts(ctx)
        return elsa.DEFER

    app.produce(name, ["dead", "later"])
    with app:
        (ctx,) = contexts.wait(1)
        until(lambda: count(metrics, "elsa_messages_processed_total", outcome="deferred") == 1, "it is deferred")
        until(lambda: count(metrics, "elsa_dead_letters_total") == 1, "the other one is a dead letter")
        before = count(metrics, "elsa_end_to_end_latency_seconds_count")
        ctx.ack()
        until(lambda: count(metrics, "elsa_end_to_end_latency_seconds_count") == 1, "the acknowledged one is timed")

    assert before == 0


def test_sizes_of_batches(app: elsa.App, metrics: PrometheusObserver, topic: Topics) -> None:
    name = topic(1)
    seen: Seen[int] = Seen()

    @app.handler(name, batch=50, batch_wait=0.2)
    def handle(bodies: list[str]) -> None:
        seen(len(bodies))

    app.produce(name, ["x"] * 120)
    with app:
        sizes = seen.wait_for(lambda items: sum(items) == 120, "all batches")
        until(lambda: count(metrics, "elsa_batch_messages_count") == len(sizes), "all calls are counted")

    assert count(metrics, "elsa_batch_messages_sum") == 120
    assert count(metrics, "elsa_queue_wait_seconds_count") == 120
    assert count(metrics, "elsa_end_to_end_latency_seconds_count") == 120


def test_places_and_the_groups_time(app: elsa.App, metrics: PrometheusObserver, topic: Topics) -> None:
    name, go_on = topic(1), threading.Event()
    begun: Seen[str] = Seen()

    @app.handler(name, ordering="none", concurrency=3)
    def handle(body: str) -> None:
        begun(body)
        go_on.wait(30)

    app.produce(name, ["x"] * 5)
    with app:
        begun.wait(3)
        group, own = app.name, {"group": app.name, "handler": handle.name}
        assert total(metrics, "elsa_worker_slots", **own) == 3
        until(lambda: total(metrics, "elsa_worker_slots_busy", **own) == 3, "all places are taken")
        before = total(metrics, "elsa_worker_seconds_total", group=group, state="handler")
        until(
            lambda: total(metrics, "elsa_worker_seconds_total", group=group, state="handler") > before + 0.2,
            "the group waits for its handlers",
        )
        assert total(metrics, "elsa_buffer_limit_messages", topic=name) >= 1_000
        go_on.set()
        until(lambda: total(metrics, "elsa_worker_slots_busy", **own) == 0, "all places are free")
        idle = total(metrics, "elsa_worker_seconds_total", group=group, state="idle")
        until(
            lambda: total(metrics, "elsa_worker_seconds_total", group=group, state="idle") > idle + 0.2,
            "nothing is in hand any more",
        )
        assert total(metrics, "elsa_worker_seconds_total", group=group, state="rebalance") > 0


def test_a_handler_that_blocks_the_loop_shows_in_its_lag(
    app: elsa.App, metrics: PrometheusObserver, topic: Topics
) -> None:
    name, pause = topic(1), threading.Event()

    @app.handler(name)
    async def handle(body: str) -> None:
        # what nobody should do in a coroutine
        pause.wait(1.5)
        await asyncio.sleep(0)

    app.produce(name, ["x"])
    with app:
        until(lambda: count(metrics, "elsa_event_loop_lag_seconds_sum") > 0.5, "the loop was late")


def test_the_producers_buffer(app: elsa.App, metrics: PrometheusObserver, topic: Topics) -> None:
    name = topic(1)
    delivery = app.producer.send(name, b"x")
    assert total(metrics, "elsa_producer_queue_limit_messages", client="producer") == app.settings.send_buffer
    delivery.result(20)
    until(lambda: total(metrics, "elsa_producer_queue_messages", client="producer") == 0, "everything is confirmed")


def test_statistics_tell_of_brokers_and_of_the_group(app: elsa.App, metrics: PrometheusObserver, topic: Topics) -> None:
    name = topic(1)
    seen: Seen[str] = Seen()

    @app.handler(name)
    def handle(body: str) -> None:
        seen(body)

    app.produce(name, ["x"])
    with app:
        seen.wait(1)
        until(lambda: count(metrics, "elsa_group_stable", group=app.name) == 1, "statistics have come", 40)
        until(lambda: count(metrics, "elsa_kafka_broker_connects_total", client="producer") > 0, "the producer's", 40)

        assert count(metrics, "elsa_kafka_broker_connects_total", client="consumer", broker="1") >= 1
        assert count(metrics, "elsa_kafka_broker_rtt_seconds", client="consumer", broker="1", stat="p99") > 0


def test_tasks_that_share_a_topic_are_told_apart(
    app: elsa.App, metrics: PrometheusObserver, topic: Topics, log: Log
) -> None:
    name = topic(2)
    begun, go_on = threading.Event(), threading.Event()

    @app.task(topic=name, name="good")
    async def good() -> None:
        """Succeeds."""

    @app.task(topic=name, name="bad", retry=elsa.Retry(max_attempts=3, base=0.01, where="memory"))
    def bad() -> None:
        raise ValueError("as always")

    @app.task(topic=name, name="moved", retry=elsa.Retry(max_attempts=2, base=1.0, jitter=False, where="topic"))
    def moved(ctx: elsa.Context) -> None:
        if ctx.attempt == 1:
            raise OSError("not yet")

    @app.task(topic=name, name="slow")
    def slow() -> None:
        begun.set()
        go_on.wait(30)

    everybody = f"tasks of {name}"

    def by_task(metric: str, **labels: str) -> dict[str, float]:
        names = ("good", "bad", "moved", "slow", everybody)
        found = {task: count(metrics, metric, topic=name, handler=task, **labels) for task in names}
        return {task: value for task, value in found.items() if value}

    calls = [task for _ in range(5) for task in ("good", "bad", "good", "nobody", "moved")]
    app.produce(name, [elsa.Record(b"[[], {}]", headers={"elsa-task": task}) for task in [*calls, "slow"]])
    with app:
        assert begun.wait(60)
        until(lambda: by_task("elsa_messages_in_progress") == {"slow": 1}, "only the slow one is at work")
        go_on.set()
        log.wait_for(f"{name}.{app.name}.dlq", 10)
        ended = {"good": 10, "moved": 5, "slow": 1}
        until(lambda: by_task("elsa_messages_processed_total", outcome="ok") == ended, "all have come to their end")
        until(lambda: by_task("elsa_dead_letters_total") == {"bad": 5, everybody: 5}, "and to the dead letters")
        until(lambda: by_task("elsa_messages_in_progress") == {}, "nobody is at work")

        assert by_task("elsa_messages_processed_total", outcome="retried") == {"bad": 10}
        assert by_task("elsa_messages_processed_total", outcome="moved") == {"moved": 5}
        assert by_task("elsa_messages_processed_total", outcome="dead") == {"bad": 5, everybody: 5}
        assert by_task("elsa_dead_letters_total", reason="exhausted") == {"bad": 5}
        assert by_task("elsa_dead_letters_total", reason="unknown") == {everybody: 5}
        assert by_task("elsa_process_duration_seconds_count") == {"good": 10, "bad": 15, "moved": 10, "slow": 1}
        assert by_task("elsa_handler_exceptions_total") == {"bad": 15, "moved": 5}
        assert sum(by_task("elsa_worker_slots").values()) == 0
        slots = {pairs["handler"] for pairs in labels_of(metrics, "elsa_worker_slots")}
        assert slots == {everybody}
        assert count(metrics, "elsa_partitions_assigned", topic=name) == 2
    assert count(metrics, "elsa_partitions_assigned", topic=name) == 0
    assert by_task("elsa_messages_in_progress") == {}


def labels_of(metrics: PrometheusObserver, name: str) -> list[dict[str, str]]:
    """Of each series of a metric."""
    return [dict(pairs) for family, _, _, samples in metrics.families() if family == name for _, pairs, *_ in samples]
