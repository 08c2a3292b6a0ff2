"""Group membership of every kind: dynamic, KIP-848, static; stops that leave and stops that come back.

A static member that comes back gets its OLD assignment (Kafka 4.4): topics and partitions that came while it was away
would have no owner. And of two members with one id the newcomer wins; the old one goes on under another.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Log, Seen, add_partitions, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from elsa.testing.kafka import Groups, Topics

pytestmark = pytest.mark.broker


def _handling(app: elsa.App, topics: list[str] | str, group: str) -> Seen[str]:
    seen: Seen[str] = Seen()

    @app.handler(topics, group=group, name=f"h-{app.name}")
    def handle(body: str) -> None:
        seen(body)

    return seen


@pytest.mark.parametrize(
    "settings", [{"static_membership": False}, {"group_protocol": "consumer"}, {}], ids=["dynamic", "kip848", "static"]
)
def test_two_members_share_and_hand_over(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups, log: Log, settings: dict[str, Any]
) -> None:
    name, members = topic(2), group()
    first, second = make_app(**settings), make_app(**settings)
    one, two = _handling(first, name, members), _handling(second, name, members)

    with first:
        assert first.wait_ready()
        with second:
            assert second.wait_ready()
            until(lambda: len(first._runtime.snapshots()) == len(second._runtime.snapshots()) == 1, "they share")
            first.produce(name, [elsa.Record("shared", partition=p) for p in (0, 1)])
            one.wait(1)
            two.wait(1)
        first.produce(name, [elsa.Record("alone", partition=p) for p in (0, 1)])
        one.wait(3)
        log.wait_committed(members, name, 2, 0)
        log.wait_committed(members, name, 2, 1)

    assert sorted(one.items + two.items) == ["alone", "alone", "shared", "shared"]


def test_a_static_member_comes_back_to_more_partitions_and_topics(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups, log: Log, brokers: str
) -> None:
    old, new, members, app_name = topic(), topic(), group(), f"it-app-{os.urandom(4).hex()}"
    settings = {"leave_on_stop": False, "name": app_name, "session_timeout": 30}
    first = make_app(**settings)
    seen = _handling(first, old, members)
    first.produce(old, "before")
    with first:
        seen.wait(1)
        log.wait_committed(members, old, 1)
    add_partitions(brokers, old, 3)

    second = make_app(**settings)
    seen = _handling(second, [old, new], members)
    second.produce(old, [elsa.Record(f"old {p}", partition=p) for p in range(3)])
    second.produce(new, "new")
    with second:
        items = seen.wait(4)

    assert sorted(items) == ["new", "old 0", "old 1", "old 2"]


def test_a_static_member_that_comes_back_unchanged_costs_no_rebalance(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups
) -> None:
    name, members, app_name = topic(), group(), f"it-app-{os.urandom(4).hex()}"
    generations = []
    for _ in range(2):
        app = make_app(name=app_name, leave_on_stop=False, session_timeout=30)
        seen: Seen[int | None] = Seen()

        def handle(body: str, ctx: elsa.Context, seen: Any = seen) -> None:
            seen(ctx.generation)

        handle.__annotations__.pop("seen")
        app.handler(name, group=members, name="h")(handle)
        app.produce(name, "x")
        with app:
            generations += seen.wait(1)

    assert generations[0] == generations[1]


def test_of_two_members_with_one_id_the_newcomer_wins_and_nothing_is_lost(  # noqa: PLR0917 - fixtures
    make_app: Callable[..., elsa.App],
    topic: Topics,
    group: Groups,
    log: Log,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, members = topic(4), group()
    ids = {"instance": "same"}
    first = make_app(runtime_dir=str(tmp_path / "one"), **ids)
    second = make_app(runtime_dir=str(tmp_path / "two"), **ids)
    one, two = _handling(first, name, members), _handling(second, name, members)
    # two processes of one App: here two Apps with one name for their ids
    from elsa.worker import runtime as module

    real = module.Runtime._take_slot

    def same(self: Any) -> None:
        real(self)
        self._around.instance = self.name = "it-same-id-0"

    monkeypatch.setattr(module.Runtime, "_take_slot", same)
    with first:
        assert first.wait_ready()
        first.produce(name, [elsa.Record(f"a{n}", partition=n % 4) for n in range(8)])
        one.wait(8)
        with second:
            until(lambda: any(r.__dict__.get("event") == "instance_fenced" for r in caplog.records), "one was fenced")
            # for those who ask and command, too
            assert len({first._runtime.name, second._runtime.name}) == 2
            second.produce(name, [elsa.Record(f"b{n}", partition=n % 4) for n in range(8)])
            until(lambda: {i for i in one.items + two.items if i[0] == "b"} == {f"b{n}" for n in range(8)}, "all came")
            until(lambda: len(first._runtime.snapshots()) == len(second._runtime.snapshots()) == 2, "they share")
        first.produce(name, [elsa.Record(f"c{n}", partition=n % 4) for n in range(4)])
        until(lambda: {i for i in one.items if i[0] == "c"} == {f"c{n}" for n in range(4)}, "the old one has all")
        for partition in range(4):
            log.wait_committed(members, name, 5, partition)
