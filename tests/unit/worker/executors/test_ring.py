"""Who runs next: each worker once, first in first out, and topics by their weights when there are any."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from elsa.worker.executors.ring import Ring


def worker(topic: str = "t") -> Any:
    """As much of a partition worker as a ring sees."""
    return _Worker(topic)


class _Worker:
    def __init__(self, topic: str) -> None:
        self.binding = SimpleNamespace(topic=topic)


def served(ring: Ring, turns: int) -> Counter[str]:
    """Whose turns come when everybody comes back at once."""
    found: Counter[str] = Counter()
    for _ in range(turns):
        one = ring.pop()
        found[one.binding.topic] += 1
        ring.push(one, 0.0)
    return found


def test_the_first_is_served_first() -> None:
    ring, workers = Ring(), [worker() for _ in range(3)]
    for one in workers:
        ring.push(one, 0.0)

    assert [ring.pop() for _ in range(3)] == workers
    assert len(ring) == 0


def test_nobody_waits_twice() -> None:
    ring, one = Ring(), worker()

    assert [ring.push(one, 1.0), ring.push(one, 2.0)] == [True, False]
    assert (len(ring), ring.since) == (1, 1.0)
    assert ring.pop() is one
    assert ring.push(one, 3.0)


def test_without_weights_topics_do_not_matter() -> None:
    ring = Ring()
    workers = [worker(name) for name in ("a", "b", "a")]
    for one in workers:
        ring.push(one, 0.0)

    assert [ring.pop() for _ in range(3)] == workers


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"hi": 3.0, "lo": 1.0}, {"hi": 30, "lo": 10}),
        ({"hi": 3.0}, {"hi": 30, "lo": 10}),
        ({"hi": 0.3, "lo": 0.1}, {"hi": 30, "lo": 10}),
        ({"hi": 1.0, "lo": 1.0}, {"hi": 20, "lo": 20}),
        ({"hi": 39.0, "lo": 1.0}, {"hi": 39, "lo": 1}),
    ],
)
def test_topics_have_their_turns_by_weight(weights: dict[str, float], expected: dict[str, int]) -> None:
    ring = Ring(weights)
    for name in ("lo", "hi"):
        ring.push(worker(name), 0.0)

    found = served(ring, 40)
    assert sum(abs(found[name] - expected[name]) for name in expected) <= 2


def test_the_partitions_of_a_topic_share_its_turns() -> None:
    ring = Ring({"hi": 3.0, "lo": 1.0})
    alone, several = worker("hi"), [worker("lo") for _ in range(5)]
    for one in [alone, *several]:
        ring.push(one, 0.0)
    turns = Counter()  # type: ignore[var-annotated]  # of workers
    for _ in range(40):
        one = ring.pop()
        turns[one] += 1
        ring.push(one, 0.0)

    assert abs(turns[alone] - 30) <= 1
    assert {turns[one] for one in several} == {2}


def test_whoever_is_alone_gets_every_turn_and_no_turns_are_saved_up() -> None:
    ring = Ring({"hi": 3.0, "lo": 1.0})
    ring.push(worker("lo"), 0.0)
    assert served(ring, 100) == {"lo": 100}

    # hi was away: from now on three of four, and not the hundreds that it did not take
    ring.push(worker("hi"), 0.0)
    found = served(ring, 40)
    assert abs(found["hi"] - 30) <= 1
    while len(ring):
        ring.pop()
    ring.push(worker("hi"), 0.0)
    assert served(ring, 100) == {"hi": 100}
    ring.push(worker("lo"), 0.0)
    assert abs(served(ring, 40)["lo"] - 10) <= 1
