"""How old the oldest unfinished message of a partition is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from elsa.worker.snapshots import snapshot
from elsa.worker.timestamps import SLACK

if TYPE_CHECKING:
    from elsa.worker.assigned import Assigned


def test_ages_of_what_went_by_behind_a_slow_head_are_forgotten(assigned: Assigned, raw: Any) -> None:
    assigned.limit = 1_000
    for offset in range(2_000):
        assigned.receive([raw(offset, timestamp=offset * 1000)], 1)
        assigned.admit(1, 10**6)
        if offset:
            assigned.finish([offset])

    assert len(assigned.timestamps) <= 2 * SLACK
    assert snapshot(assigned, "g", 0, 2_000).oldest_timestamp == 0.0
    assigned.finish([0])
    assert snapshot(assigned, "g", 0, 2_000).oldest_timestamp is None


def test_the_age_is_that_of_the_head_also_inside_of_one_slice(assigned: Assigned, raw: Any) -> None:
    now = time.time()
    assigned.receive([raw(offset, timestamp=int(1000 * (now - 100 + 10 * offset))) for offset in range(4)], 4)
    assigned.admit(10, 10**6)
    assigned.finish([0, 1])

    assert snapshot(assigned, "g", 0, 4).oldest_timestamp == pytest.approx(now - 80, abs=0.01)
