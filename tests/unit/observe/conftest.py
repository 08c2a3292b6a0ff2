"""What the engine would tell, and a way to read one value back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.observer import PartitionSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from elsa.observe.exposition import Family


class HandClock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.wall = 1_000.0
        self.steady = 50.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady


def _partition(number: int = 0, **changes: Any) -> PartitionSnapshot:
    facts: dict[str, Any] = {
        "group": "billing",
        "topic": "orders",
        "partition": number,
        "handler": "shop.bill",
        "committed": 90,
        "position": 95,
        "high_watermark": 100,
        "low_watermark": 10,
        "in_progress": 2,
        "buffered": 3,
        "uncommitted": 1,
        "head_attempts": 1,
        "oldest_timestamp": 940.0,
        "paused": None,
    }
    return PartitionSnapshot(**(facts | changes))


def _value(families: Iterable[Family], series: str, **labels: str) -> float | None:
    """The only sample of that series with those labels, None when there is none."""
    found = [
        sample[2]
        for family in families
        for sample in family[3]
        if sample[0] == series and labels.items() <= dict(sample[1]).items()
    ]
    assert len(found) <= 1, f"{series} {labels} is not one series: {found}"
    return found[0] if found else None


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def partition() -> Callable[..., PartitionSnapshot]:
    """`partition(number=0, **changes)` is one assigned partition: 10 behind, head 60 s old at the clock's start."""
    return _partition


@pytest.fixture
def value() -> Callable[..., float | None]:
    """`value(families, series, **labels)` is the one sample that fits, or None."""
    return _value
