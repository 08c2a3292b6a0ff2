"""Commands over a real Kafka: `app.control` reaches a worker that is busy, and junk in the topic troubles nobody."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.control.protocol import Command, Status, decode, encode
from elsa.errors import CommandError, NoWorker, UnknownTarget
from elsa.ids import uuid7
from elsa.observe.metrics import PrometheusObserver

from .waiting import Log, Seen, total, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker

#: a busy machine may take longer than the command line waits
TIMEOUT = 20.0


def only(results: dict[str, Any]) -> Any:
    """What the one worker answered."""
    (result,) = results.values()
    return result


def test_calls_that_block_and_calls_that_wait_are_told_with_their_progress(app: elsa.App, topic: Topics) -> None:
    """All threads of one handler are blocked, a coroutine of another waits; both are seen, and where they stand."""
    blocked, waiting, gate = topic(2), topic(), threading.Event()
    begun: Seen[str] = Seen()

    @app.handler(blocked, name="block", concurrency=2)
    def block(body: str, ctx: elsa.Context) -> None:
        ctx.heartbeat([body, 7])
        begun(body)
        gate.wait(60)

    @app.handler(waiting, name="wait")
    async def wait_for_it(body: str) -> None:
        begun(body)
        await asyncio.to_thread(gate.wait, 60)

    app.produce(blocked, [elsa.Record(f"b{n}", key=f"k{n}", partition=n) for n in range(2)])
    app.produce(waiting, ["w0"])
    with app:
        begun.wait(3)
        try:
            calls = only(app.control.active(timeout=TIMEOUT))
            one = only(app.control.active(topic=blocked, partition=1, timeout=TIMEOUT))
            owned = only(app.control.assignments(handler="wait", timeout=TIMEOUT))
            stacks = only(app.control.stacks(timeout=TIMEOUT))
            settings = only(app.control.config(timeout=TIMEOUT))
            ping = only(app.control.ping(timeout=TIMEOUT))
        finally:
            gate.set()

    told = {(c["handler"], c["topic"], c["partition"], c["offset"], c["key"], str(c["progress"])) for c in calls}
    assert told == {
        ("block", blocked, 0, 0, "k0", "['b0', 7]"),
        ("block", blocked, 1, 0, "k1", "['b1', 7]"),
        ("wait", waiting, 0, 0, None, "None"),
    }
    assert all(call["attempt"] == 1 and call["seconds"] >= 0 and call["group"] == app.name for call in calls)
    assert [(call["partition"], call["key"]) for call in one] == [(1, "k1")]
    assert [(row["topic"], row["in_progress"]) for row in owned] == [(waiting, 1)]
    assert "gate.wait(60)" in stacks
    assert "await asyncio.to_thread(gate.wait, 60)" in stacks
    assert {row["name"]: row["value"] for row in settings}["name"] == app.name
    assert (ping["running"], ping["is_ready"], ping["is_quiet"]) == (3, True, False)


def test_a_standalone_handler_is_paused_as_well(app: elsa.App, topic: Topics) -> None:
    name, other = topic(), topic()
    seen: Seen[str] = Seen()

    @app.handler(name, group=None, name="alone")
    def alone(body: str) -> None:
        seen(body)

    @app.handler(other, name="grouped")
    def grouped(body: str) -> None:
        seen(body)

    with app:
        assert app.wait_ready()
        # no messages of before the assignment are read
        until(lambda: len(app._runtime.snapshots()) == 2, "both have their partition")
        paused = only(app.control.pause(handler="alone", timeout=TIMEOUT))
        app.produce(name, ["a"])
        app.produce(other, ["b"])
        seen.wait(1)
        reasons = {s.handler: s.paused for s in app._runtime.snapshots()}
        app.control.resume(timeout=TIMEOUT)
        seen.wait(2)

    assert paused == {"partitions": [{"topic": name, "partition": 0}], "late": []}
    assert reasons == {"alone": "operator", "grouped": None}
    assert seen.items == ["b", "a"]


def test_what_cannot_be_done_raises_with_the_reason(app: elsa.App, topic: Topics) -> None:
    name = topic()

    @app.handler(name, name="work")
    def work(body: str) -> None: ...

    with pytest.raises(NoWorker, match=f"there is no topic '{app.name}.control'"):
        app.control.ping()
    with app:
        app.wait_ready()
        until(lambda: app.topics.exists(f"{app.name}.control"), "the topic is made")
        with pytest.raises(UnknownTarget, match="there is no handler wrok here"):
            app.control.pause(handler="wrok", timeout=TIMEOUT)
        with pytest.raises(CommandError, match="runs inside another program") as caught:
            app.control.stop(timeout=TIMEOUT)
        with pytest.raises(CommandError, match="rate='fast' is not a rate"):
            app.control.rate("work", "fast", timeout=TIMEOUT)
        with pytest.raises(NoWorker, match="asked was elsewhere"):
            app.control.ping(worker="elsewhere", timeout=0.2)
        (worker,) = app.control.ping(timeout=TIMEOUT)

    assert list(caught.value.refused) == [worker]


def test_junk_and_late_commands_are_left_and_counted(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log
) -> None:
    observer = PrometheusObserver()
    app = make_app(observer=observer)
    control, status = f"{app.name}.control", f"{app.name}.status"

    @app.handler(topic(), name="work")
    def work(body: str) -> None: ...

    with app:
        until(lambda: app.topics.exists(control), "the topic is made")
        app.control.ping(timeout=TIMEOUT)
        app.produce(control, [b"hello", b"\xff", elsa.Record(None, key="k"), b'{"type":"command","v":99}'])
        # a second is over when it is read
        app.produce(control, [encode(Command(name="quiet", id=uuid7(), ttl=-1.0))])
        until(lambda: total(observer, "elsa_commands_total", outcome="late") == 1, "the late one is counted")
        answered = only(app.control.ping(timeout=TIMEOUT))
        worker = app._runtime.name
    reports = [message for message in log.read(status) if message.key == worker.encode()]
    first = decode(reports[0].value)

    assert answered["is_quiet"] is False
    assert total(observer, "elsa_commands_total", outcome="unreadable") == 4
    assert total(observer, "elsa_commands_total", outcome="ok") == 2
    assert isinstance(first, Status)
    assert (first.worker, first.handlers, first.groups) == (worker, ["work"], [app.name])
    # an orderly end is told at once: nobody waits for this worker any more
    assert reports[-1].value is None
    for name in (control, status):
        described = app.topics.describe(name)
        assert len(described.partitions) == 1
        assert described.config["message.timestamp.type"] == "LogAppendTime"
    assert app.topics.describe(control).config["retention.ms"] == "3600000"
    assert app.topics.describe(status).config["cleanup.policy"] == "compact"


def test_a_worker_that_may_not_make_topics_says_so_and_works(
    make_app: Callable[..., elsa.App], topic: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(environment="production")
    name = topic()
    seen: Seen[str] = Seen()

    @app.handler(name)
    def work(body: str) -> None:
        seen(body)

    with app:
        app.produce(name, ["a"])
        seen.wait(1)
        text = f"`elsa inspect` and `elsa control` do not reach this worker: topic '{app.name}.control' does not exist"
        until(lambda: text in caplog.text, "it says why")

        assert not app.topics.exists(f"{app.name}.control")
        with pytest.raises(NoWorker):
            app.control.ping()


def test_topics_that_somebody_has_made_with_more_partitions_do_as_well(app: elsa.App, topic: Topics) -> None:
    app.handler(topic(), name="idle")(lambda body: None)
    control, status = f"{app.name}.control", f"{app.name}.status"
    for name in (control, status):
        app.topics.create(name, partitions=6)
    with app:
        until(lambda: app.topics.watermarks(status)[0][1], "it has reported where reports are read")
        # where commands go by their ids, which differ, some would not get there
        for _ in range(5):
            assert only(app.control.ping(timeout=TIMEOUT))["pid"]
