"""What is known of the topics that delayed messages are for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from elsa.delays.targets import AVOIDED_SECONDS, KNOWN_SECONDS, Targets
from elsa.errors import AuthorizationFailed, BrokerUnavailable, UnknownTopic
from elsa.kafka.admin import Writable
from elsa.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterable


class Topics:
    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.answers = {
            "fine": Writable(3),
            "headless": Writable(3, frozenset({1})),
            "gone": Writable(refusal=UnknownTopic("no topic 'gone'")),
            "forbidden": Writable(refusal=AuthorizationFailed("not yours")),
            "later": Writable(refusal=BrokerUnavailable("no answer")),
        }

    def writable(self, names: Iterable[str]) -> dict[str, Writable]:
        self.asked.append(list(names))
        return {name: self.answers[name] for name in self.asked[-1]}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(0.0)


@pytest.fixture
def topics() -> Topics:
    return Topics()


@pytest.fixture
def targets(topics: Topics, clock: FakeClock) -> Targets:
    made = Targets(topics, clock)
    made.look_up(topics.answers)
    return made


def test_answers_hold_for_a_moment(targets: Targets, topics: Topics, clock: FakeClock) -> None:
    targets.look_up(["gone", "fine"])
    assert len(topics.asked) == 1
    assert [targets.partitions(topic) for topic in ("fine", "gone")] == [3, 0]

    clock.advance(KNOWN_SECONDS)
    targets.look_up(["gone", "fine"])
    assert topics.asked[1:] == [["fine", "gone"]]
    targets.forget()
    targets.look_up(["fine"])
    assert topics.asked[2:] == [["fine"]]


@pytest.mark.parametrize(
    ("topic", "partition", "refused_absent_hindered"),
    [
        ("fine", None, (None, None, None)),
        ("fine", 2, (None, None, None)),
        ("fine", 3, (None, "topic 'fine' has no partition 3, only 0..2", None)),
        ("headless", 0, (None, None, None)),
        ("headless", 1, (None, None, "topic 'headless' has no leader for partition 1")),
        ("headless", None, (None, None, "topic 'headless' has no leader for partition 1")),
        ("gone", None, (None, "no topic 'gone'", "no topic 'gone'")),
        ("forbidden", None, ("not yours", None, "not yours")),
        ("later", None, (None, None, "no answer")),
    ],
)
def test_what_can_never_be_is_told_from_what_cannot_be_now(
    targets: Targets, topic: str, partition: int | None, refused_absent_hindered: tuple[str | None, ...]
) -> None:
    told = targets.refusal(topic), targets.absence(topic, partition), targets.obstacle(topic, partition)
    assert told == refused_absent_hindered


def test_a_topic_that_took_nothing_in_time_is_left_alone_for_a_while(targets: Targets, clock: FakeClock) -> None:
    targets.avoid("fine", "it was slow")
    assert targets.obstacle("fine", 0) == "it was slow"

    clock.advance(AVOIDED_SECONDS)
    assert targets.obstacle("fine", 0) is None

    targets.avoid("fine", "nobody knows it", 1.0)
    clock.advance(1.0)
    assert targets.obstacle("fine", 0) is None
