"""A static member leaves and joins anew only when partitions have no owner in two looks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from elsa.delays.owners import UNOWNED_SECONDS, Owners
from elsa.errors import BrokerUnavailable
from elsa.message import TopicPartition

TOPIC = "app.delay.1s"


class Around:
    """A group that owns `owned` of a topic with `count` partitions."""

    def __init__(self, *owned: int, count: int = 2) -> None:
        self.group = "app.mover"
        self.seconds = {TOPIC: 1}
        self.numbers: set[int] | None = set(owned)
        self.count = count
        self.is_away = False
        self.topics = self

    def owned(self, group: str) -> set[TopicPartition] | None:
        return None if self.numbers is None else {TopicPartition(TOPIC, number) for number in self.numbers}

    def writable(self, names: list[str]) -> dict[str, Any]:
        if self.is_away:
            raise BrokerUnavailable("nobody is there")
        return {name: SimpleNamespace(partitions=self.count, refusal=None) for name in names}


def owners(around: Around, *, is_static: bool = True) -> Owners:
    return Owners(around, {TOPIC: 2}, is_static=is_static)  # type: ignore[arg-type]  # what it asks


def looks(found: Owners, count: int = 4) -> list[bool]:
    """What it says from an assignment on, each time that it looks."""
    found.look_soon(0.0)
    assert not found.are_missing(UNOWNED_SECONDS / 2)
    return [found.are_missing(UNOWNED_SECONDS * turn) for turn in range(1, count + 1)]


def test_where_all_have_an_owner_nothing_is_missing() -> None:
    assert not any(looks(owners(Around(0, 1))))


def test_what_has_no_owner_in_two_looks_is_missing() -> None:
    assert looks(owners(Around(0))) == [False, True, False, True]


def test_a_dynamic_member_need_not_look() -> None:
    assert not any(looks(owners(Around(0), is_static=False)))


def test_an_answer_that_does_not_come_says_nothing() -> None:
    around = Around(0)
    around.numbers = None

    assert not any(looks(owners(around)))


def test_partitions_that_were_added_are_looked_for() -> None:
    around = Around(0, 1)
    found = owners(around)
    looks(found)
    around.count = 3
    found.compare(100.0)

    assert found.partitions == {TOPIC: 3}
    assert [found.are_missing(100.0 + UNOWNED_SECONDS * turn) for turn in range(2)] == [False, True]


@pytest.mark.parametrize("is_away", [False, True])
def test_without_news_nothing_is_looked_for(*, is_away: bool) -> None:
    around = Around(0)
    around.is_away = is_away
    found = owners(around)
    found.compare(100.0)

    assert found.partitions == {TOPIC: 2}
    assert not any(found.are_missing(100.0 + UNOWNED_SECONDS * turn) for turn in range(4))
