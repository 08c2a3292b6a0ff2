"""What a worker process says of its health on a real Kafka: a join that stands still, calls beyond their timeout,
clients that fail fatally, hooks.

A join stands still when another member of the group does not answer: the broker then waits for it as long as that
one's poll interval is. No timeout of ours ends that.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer

from elsa.observer import GroupObserver, Observer
from elsa.worker import vitals
from elsa.worker.pulse import Pulse
from elsa.worker.vitals import Vitals

from .waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    import elsa
    from elsa.observe.verdicts import Check
    from elsa.testing.kafka import Groups, Topics

OFTEN = {"statistics.interval.ms": 100}


def failed(one: Vitals, probe: str = "live") -> list[Check]:
    return [check for check in one.checks()[probe] if not check.ok]


def test_a_join_that_stands_still_is_seen_and_its_end_too(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups, brokers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals, "FROZEN_INTERVALS", 0.0)
    name, members = topic(2), group()
    silent = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": members,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 10_000,
            "max.poll.interval.ms": 120_000,
        }
    )
    silent.subscribe([name])

    def has_joined() -> bool:
        silent.poll(0.1)
        return len(silent.assignment()) == 2

    until(has_joined, "the other member has joined")
    app = make_app(kafka=OFTEN)
    app.handler(name, group=members, name="h")(lambda body: None)
    with app:
        one = Vitals(app._runtime)
        until(lambda: [check.name for check in failed(one)] == ["join"], "the join stands still")
        (check,) = failed(one)
        assert "stands still in 'wait-" in check.hint
        silent.close()
        assert app.wait_ready()
        until(lambda: not failed(one), "it has joined")


class Hanging(GroupObserver):
    """Its group manager's thread hangs while `goes_on` is not set."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.goes_on.set()

    def polled(self, now: float) -> None:
        self.goes_on.wait(60)


class Watching(Observer):
    def __init__(self, groups: Hanging) -> None:
        self._groups = groups

    def group(self, group: str | None) -> GroupObserver:
        return self._groups


@pytest.mark.parametrize(
    "settings", [{}, {"static_membership": False}, {"group_protocol": "consumer"}], ids=["static", "dynamic", "kip848"]
)
def test_a_member_that_was_thrown_out_is_not_ready_until_it_is_let_in_whoever_has_its_partition(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups, settings: dict[str, Any]
) -> None:
    name, members, hanging = topic(1), group(), Hanging()
    first = make_app(observer=Watching(hanging), max_poll_interval=6, session_timeout=6, kafka=OFTEN, **settings)
    second = make_app(**settings)
    for app in (first, second):
        app.handler(name, group=members, name=f"h-{app.name}")(lambda body: None)
    with first:
        one = Vitals(first._runtime)
        until(lambda: first._runtime.snapshots() and not failed(one, "ready"), "the first has the partition")
        with second:
            other = Vitals(second._runtime)
            until(lambda: not failed(other, "ready"), "who has nothing is ready too")
            assert not second._runtime.snapshots()

            hanging.goes_on.clear()
            until(second._runtime.snapshots, "the second has the partition")
            until(lambda: failed(one, "ready"), "the first is not ready")
            assert [(check.name, check.about) for check in failed(one, "ready")] == [("assignment", members)]
            assert not failed(other, "ready")

            hanging.goes_on.set()
            until(lambda: not failed(one, "live") and not failed(one, "ready"), "the first is ready again")
            assert not failed(other, "ready")


def test_a_call_that_outlives_its_timeout_is_seen(
    make_app: Callable[..., elsa.App], topic: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals, "GRACE_SECONDS", 0.0)
    name, go_on = topic(), threading.Event()
    app = make_app()

    @app.handler(name, timeout=0.2)
    def hangs(body: str) -> None:
        go_on.wait(60)

    @app.handler(topic(), name="patient")
    def patient(body: str) -> None:
        go_on.wait(60)

    with app:
        one = Vitals(app._runtime)
        app.produce(name, "x")
        app.produce(patient.topics[0], "x")
        until(lambda: failed(one), "the call is seen")
        (check,) = failed(one)
        assert (check.name, check.about, check.limit) == ("handler", hangs.name, 0.2)
        assert f"{name}[0] offset 0" in check.hint
        go_on.set()
        until(lambda: not failed(one), "nothing hangs any more")


def test_hooks_decide_whether_it_is_ready(
    make_app: Callable[..., elsa.App], topic: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elsa.worker.readiness.ASK_SECONDS", 0.01)
    state = {"database": False}
    app = make_app()
    app.handler(topic(), name="h")(lambda body: None)

    @app.readiness
    def database() -> bool:
        return state["database"]

    with app:
        one = Vitals(app._runtime)
        assert app.wait_ready()
        until(lambda: [check.name for check in failed(one, "ready")] == ["hook"], "the hook alone says no")
        state["database"] = True
        until(lambda: not failed(one, "ready"), "it is ready")
        assert not failed(one, "startup")


def test_a_fatal_error_counts_until_the_new_client_has_joined(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups, brokers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[str] = []
    failed_before = Pulse.failed

    def note(self: Pulse, text: str) -> None:
        broken.append(text)
        failed_before(self, text)

    monkeypatch.setattr(Pulse, "failed", note)
    name, members = topic(), group()
    app = make_app()
    app.handler(name, group=members, name="h")(lambda body: None)
    with app:
        assert app.wait_ready()
        settings: dict[str, Any] = {
            "bootstrap.servers": brokers,
            "group.id": members,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 10_000,
            "group.instance.id": app._runtime.name,
        }
        newcomer = Consumer(settings)
        newcomer.subscribe([name])

        def is_fenced() -> bool:
            newcomer.poll(0.1)
            return bool(broken)

        until(is_fenced, "the worker is fenced")
        newcomer.close()
        pulse = app._runtime.managers[0].pulse
        until(lambda: pulse.fatal is None and app.is_ready, "the new client has joined", 60)
