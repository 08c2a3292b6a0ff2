"""A member's subscription, with a client that only notes what it is asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.clock import SYSTEM
from elsa.worker.membership import GroupMembership
from elsa.worker.pulse import Pulse
from elsa.worker.routes import Routes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.message import TopicPartition


class Client:
    """Notes subscriptions."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.owned: list[TopicPartition] = []
        self.epoch = -1

    def subscribe(self, topics: list[str]) -> None:
        self.asked.append(topics)

    def assigned(self) -> list[TopicPartition]:
        return self.owned

    def generation(self) -> int:
        return self.epoch


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def settings() -> dict[str, Any]:
    return {}


@pytest.fixture
def member(client: Client, settings: dict[str, Any]) -> Iterator[GroupMembership]:
    app = elsa.App("unit-membership", **settings)

    @app.handler("^t")
    def handle(body: bytes) -> None:
        """Never called."""

    manager: Any = SimpleNamespace(
        app=app,
        group="g",
        name="g",
        consumer=client,
        clock=SYSTEM,
        is_ready=False,
        routes=Routes(app.registry.bindings(), "g"),
        pulse=Pulse(SYSTEM),
    )
    around: Any = SimpleNamespace(app=app, clock=SYSTEM, instance="host-0", slot=None)
    made = GroupMembership(manager, around)
    made.join()
    yield made
    app.stop()


def test_the_subscription_does_not_change_while_the_member_waits_to_be_let_in(
    member: GroupMembership, client: Client
) -> None:
    member.topology({"t1": 1}, frozenset())
    member.topology({"t1": 1, "t2": 1}, frozenset())
    member.chores(0.0)
    assert client.asked == [["t1"]]

    member._assigned([])
    member.chores(0.0)
    member.chores(0.0)

    assert client.asked == [["t1"], ["t1", "t2"]]


def test_a_member_that_was_let_in_changes_it_at_once(member: GroupMembership, client: Client) -> None:
    member.topology({"t1": 1}, frozenset())
    member._assigned([])
    member.topology({"t1": 1, "t2": 1}, frozenset())

    assert client.asked == [["t1"], ["t1", "t2"]]


def test_who_has_lost_its_partitions_waits_again(member: GroupMembership, client: Client) -> None:
    member.topology({"t1": 1}, frozenset())
    member._assigned([])
    member.gave_up(has_some=False, is_lost=True)
    assert member._manager.pulse.is_out
    member.topology({"t1": 1, "t2": 1}, frozenset())
    member.chores(0.0)
    assert client.asked == [["t1"]]

    member._assigned([])
    member.chores(0.0)

    assert not member._manager.pulse.is_out
    assert client.asked == [["t1"], ["t1", "t2"]]


def test_a_client_that_is_made_anew_asks_for_all(member: GroupMembership, client: Client) -> None:
    member.topology({"t1": 1}, frozenset())
    member.topology({"t1": 1, "t2": 1}, frozenset())
    member.join()

    assert client.asked == [["t1"], ["t1", "t2"]]


@pytest.mark.parametrize("settings", [{"group_protocol": "consumer"}])
def test_a_kip_848_member_that_is_told_nothing_is_in_when_it_has_had_its_epoch_for_a_while(
    member: GroupMembership, client: Client
) -> None:
    manager = member._manager
    member.topology({"t1": 1}, frozenset())
    for now in (1.0, 5.0):
        member.chores(now)
        assert not manager.is_ready
    client.epoch = 3
    member.chores(6.0)
    member.chores(7.9)
    assert not manager.is_ready
    # what is not told yet may still come
    client.epoch = 0
    member.chores(8.0)
    client.epoch = 1
    for now in (8.1, 10.0):
        member.chores(now)
        assert not manager.is_ready

    member.chores(10.2)
    assert manager.is_ready

    member.gave_up(has_some=False, is_lost=True)
    member.chores(11.0)
    member.chores(12.0)
    assert manager.pulse.is_out
    member.chores(13.1)
    assert not manager.pulse.is_out


def test_a_member_of_the_classic_protocol_is_in_when_it_is_told_so(member: GroupMembership, client: Client) -> None:
    member.topology({"t1": 1}, frozenset())
    client.epoch = 3
    for now in (1.0, 5.0, 9.0):
        member.chores(now)

    assert not member._manager.is_ready
