"""Lag as the metrics show it, beside what the brokers say of the same group, on a real Kafka."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.kafka.admin import Admin
from elsa.observe.metrics import PrometheusObserver

from .waiting import Seen, delete_records, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.testing.kafka import Groups, Topics

    MakeApp = Callable[..., elsa.App]

pytestmark = pytest.mark.broker


@pytest.fixture
def metrics() -> PrometheusObserver:
    return PrometheusObserver()


@pytest.fixture
def app(make_app: MakeApp, metrics: PrometheusObserver) -> elsa.App:
    return make_app(observer=metrics, commit_interval=0.2)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened at the latest when the test ends, so that no handler waits for ever."""
    made = threading.Event()
    yield made
    made.set()


def shown(metrics: PrometheusObserver, name: str = "elsa_consumer_lag_messages") -> dict[int, float]:
    """A gauge by partition."""
    found = {family: samples for family, _, _, samples in metrics.families()}
    return {int(dict(pairs)["partition"]): value for _, pairs, value, _ in found.get(name, [])}


def told(app: elsa.App, topic: str) -> dict[int, int]:
    """What the brokers say."""
    return {each.partition: each.lag for each in app.groups.lag(app.name) if each.topic == topic}


def fill(app: elsa.App, topic: str, counts: dict[int, int]) -> None:
    app.produce(
        topic, [elsa.Record(b'"x"', partition=number) for number, count in counts.items() for _ in range(count)]
    )


def test_under_load_the_lag_lies_between_what_the_brokers_said_before_and_after(
    app: elsa.App, metrics: PrometheusObserver, topic: Topics
) -> None:
    name = topic(3)
    seen: Seen[int] = Seen()

    @app.handler(name)
    def handle(body: str, ctx: elsa.Context) -> None:
        time.sleep(0.002)
        seen(ctx.partition)

    fill(app, name, {0: 900, 1: 900, 2: 300})
    looks = 0
    with app:
        until(lambda: len(shown(metrics)) == 3, "all partitions have a lag")
        seen.wait(100)
        while sum((before := told(app, name)).values()) > 0:
            during, after = shown(metrics), told(app, name)
            for number, behind in during.items():
                assert after[number] <= behind <= before[number], (number, before, during, after)
            looks += 1
        seen.wait(2_100)
        until(lambda: set(shown(metrics).values()) == {0}, "nothing is left")

    assert looks >= 2


def test_no_look_from_the_first_moment_on_shows_a_negative_number(
    app: elsa.App, metrics: PrometheusObserver, topic: Topics
) -> None:
    name = topic(4)
    seen: Seen[str] = Seen()

    @app.handler(name, start="latest")
    def handle(body: str) -> None:
        seen(body)

    fill(app, name, {0: 50, 1: 50})
    lowest = 0.0
    with app:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            found = [
                value for family in metrics.families() for _, pairs, value, _ in family[3] if "partition" in dict(pairs)
            ]
            lowest = min([lowest, *found])
        until(lambda: shown(metrics) == {0: 0, 1: 0, 2: 0, 3: 0}, "what was there before the start is no lag")

    assert lowest == 0
    assert len(seen) == 0


def test_nothing_committed_means_everything_from_the_first_offset_that_is_left(
    app: elsa.App, metrics: PrometheusObserver, topic: Topics, brokers: str, gate: threading.Event
) -> None:
    name = topic(1)
    seen: Seen[int] = Seen()

    @app.handler(name)
    def handle(body: str, ctx: elsa.Context) -> None:
        seen(ctx.offset)
        gate.wait(60)

    fill(app, name, {0: 30})
    delete_records(brokers, name, 10)
    with app:
        assert seen.wait(1) == [10]
        until(lambda: shown(metrics) == {0: 20}, "the first offsets are gone, the others are ahead", 40)
        assert shown(metrics, "elsa_consumer_committed_offset") == {}
        gate.set()
        until(lambda: shown(metrics) == {0: 0}, "all are done")


def test_lag_of_paused_partitions_moves_and_costs_one_request_for_all(
    app: elsa.App, metrics: PrometheusObserver, topic: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topic(3)
    seen: Seen[int] = Seen()
    asked: list[set[Any]] = []
    ends = Admin.ends

    def counted(self: Admin, partitions: Any, *rest: Any) -> Any:
        asked.append({(each.topic, each.partition) for each in partitions})
        return ends(self, partitions, *rest)

    monkeypatch.setattr(Admin, "ends", counted)

    @app.handler(name)
    def handle(body: str, ctx: elsa.Context) -> None:
        seen(ctx.partition)

    fill(app, name, {0: 5, 1: 5, 2: 5})
    with app:
        seen.wait(15)
        until(lambda: shown(metrics) == {0: 0, 1: 0, 2: 0}, "all are done")
        app.control.pause(partition=0, topic=name)
        app.control.pause(partition=2, topic=name)
        fill(app, name, {0: 7, 1: 2, 2: 3})
        seen.wait(17)
        # scrapes come every ten seconds or so: the next one is to be right
        until(lambda: shown(metrics) == {0: 7, 1: 0, 2: 3}, "the paused ones are seen to grow", 9)
        assert told(app, name) == {0: 7, 1: 0, 2: 3}
        fill(app, name, {0: 1})
        until(lambda: shown(metrics)[0] == 8, "and to grow on", 9)
        assert shown(metrics, "elsa_consumer_lag_seconds")[0] > 0
        app.control.resume()
        seen.wait(28)
        until(lambda: shown(metrics) == {0: 0, 1: 0, 2: 0}, "all are done again")

    assert asked
    assert all(one <= {(name, 0), (name, 2)} for one in asked)
    assert {(name, 0), (name, 2)} in asked


def test_what_an_open_transaction_holds_back_is_no_lag_yet(
    app: elsa.App, metrics: PrometheusObserver, topic: Topics, brokers: str, gate: threading.Event
) -> None:
    from confluent_kafka import Producer

    name = topic(1)
    seen: Seen[int] = Seen()

    @app.handler(name)
    def handle(body: str, ctx: elsa.Context) -> None:
        seen(ctx.offset)
        gate.wait(60)

    fill(app, name, {0: 4})
    producer = Producer({"bootstrap.servers": brokers, "transactional.id": f"{name}-open"})
    producer.init_transactions(20)
    producer.begin_transaction()
    for _ in range(5):
        producer.produce(name, b'"x"', partition=0)
    producer.flush(20)
    with app:
        seen.wait(1)
        until(lambda: shown(metrics, "elsa_partition_high_watermark_offset") == {0: 9}, "the log ends behind it")
        until(lambda: shown(metrics) == {0: 4}, "what can be read is the lag")
        assert told(app, name) in ({}, {0: 4})
        producer.commit_transaction(20)
        # the marker has an offset, too
        until(lambda: shown(metrics) == {0: 10}, "what was committed can be read")
        gate.set()
        seen.wait(9)
        until(lambda: shown(metrics) == {0: 0}, "all are done")


def test_seconds_of_a_paused_partition_are_those_of_the_head_that_nobody_has_fetched(
    app: elsa.App, metrics: PrometheusObserver, topic: Topics
) -> None:
    name = topic(1)
    seen: Seen[int] = Seen()

    @app.handler(name)
    def handle(body: str, ctx: elsa.Context) -> None:
        seen(ctx.offset)

    fill(app, name, {0: 1})
    with app:
        seen.wait(1)
        until(lambda: shown(metrics) == {0: 0}, "it is done")
        app.control.pause(topic=name)
        now = time.time()
        app.produce(name, [elsa.Record(b'"x"', partition=0, timestamp=stamp) for stamp in (now - 500, now)])
        until(lambda: shown(metrics, "elsa_consumer_lag_seconds")[0] >= 500, "its age is read from the log")
        assert shown(metrics) == {0: 2}
        app.control.resume()
        seen.wait(3)
        until(lambda: shown(metrics, "elsa_consumer_lag_seconds") == {0: 0}, "it is done again")


@pytest.mark.parametrize(
    ("sent_ago", "least", "most"), [(500.0, 500.0, 560.0), (-300.0, 0.0, 0.0)], ids=["old", "ahead"]
)
def test_seconds_are_the_heads_age_and_never_negative(  # noqa: PLR0917 - parameters and fixtures
    app: elsa.App,
    metrics: PrometheusObserver,
    topic: Topics,
    gate: threading.Event,
    sent_ago: float,
    least: float,
    most: float,
) -> None:
    name = topic(1)
    seen: Seen[int] = Seen()

    @app.handler(name)
    def handle(body: str, ctx: elsa.Context) -> None:
        seen(ctx.offset)
        if ctx.offset:
            gate.wait(60)

    now = time.time()
    stamps = [now - 10_000, now - sent_ago, now]
    app.produce(name, [elsa.Record(b'"x"', partition=0, timestamp=stamp) for stamp in stamps])
    with app:
        seen.wait(2)
        until(lambda: shown(metrics, "elsa_consumer_committed_offset") == {0: 1}, "the first one is done")
        assert least <= shown(metrics, "elsa_consumer_lag_seconds")[0] <= most
        gate.set()


def test_what_is_revoked_vanishes_at_once_also_while_its_handler_still_runs(
    make_app: MakeApp, topic: Topics, group: Groups, gate: threading.Event
) -> None:
    name, members = topic(4), group()
    ones, twos = PrometheusObserver(), PrometheusObserver()
    first, second = make_app(observer=ones, static_membership=False), make_app(observer=twos, static_membership=False)
    begun: Seen[int] = Seen()

    @first.handler(name, group=members)
    def wait(body: str, ctx: elsa.Context) -> None:
        begun(ctx.partition)
        gate.wait(60)

    @second.handler(name, group=members)
    def take(body: str, ctx: elsa.Context) -> None: ...

    fill(first, name, dict.fromkeys(range(4), 3))
    twice: list[int] = []
    with first:
        begun.wait(4)
        until(lambda: set(shown(ones)) == {0, 1, 2, 3}, "one member has all of them")
        with second:
            until(lambda: len(shown(ones)) == 2, "two of them go, though their handlers still run")
            assert len(begun) == 4
            assert shown(twos) == {}
            kept = set(shown(ones))
            gate.set()

            def both() -> bool:
                mine, others = set(shown(ones)), set(shown(twos))
                twice.extend(mine & others)
                return (mine, others) == (kept, {0, 1, 2, 3} - kept)

            until(both, "the other member has the rest")

    assert twice == []
    assert shown(ones) == shown(twos) == {}
