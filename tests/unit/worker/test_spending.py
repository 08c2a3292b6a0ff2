"""What a group manager waits for, by what its partitions have in hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from elsa.worker.spending import waits_for


def partition(in_flight: int = 0, parked: int = 0, turns: int = 0, **fields: Any) -> Any:
    worker = SimpleNamespace(underway=SimpleNamespace(turns=set(range(turns))))
    base = {"in_flight": in_flight, "parked": parked, "worker": worker, "held": None, "is_paused": False}
    return SimpleNamespace(**base | fields)


@pytest.mark.parametrize(
    ("busy", "state"),
    [
        ([], "idle"),
        ([partition(3)], "handler"),
        ([partition(3, parked=1)], "retry_wait"),
        ([partition(3, parked=1, turns=1)], "handler"),
        ([partition(3, parked=1), partition(1)], "handler"),
        ([partition(3, is_paused=True)], "idle"),
        ([partition(3, held="restarting")], "idle"),
        ([partition(0, parked=1)], "retry_wait"),
    ],
)
def test_it_waits_for_handlers_that_run_or_may(busy: list[Any], state: str) -> None:
    assert waits_for(busy, is_gated=False, flows=True) == state


def test_what_holds_everything_comes_first() -> None:
    assert waits_for([partition(3)], is_gated=True, flows=True) == "backpressure"
    assert waits_for([partition(3)], is_gated=True, flows=False) == "commit"
