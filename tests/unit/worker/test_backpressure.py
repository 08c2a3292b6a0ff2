"""When a partition is paused because too much waits, and when it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa.worker.backpressure import OVERFLOW_MESSAGES, wants_pause, wants_resume

from .parts import receive

if TYPE_CHECKING:
    from elsa.worker.assigned import Assigned


def test_pausing_follows_counters_and_lasts_a_while(assigned: Assigned, raw: Any) -> None:
    receive(assigned, raw, *range(OVERFLOW_MESSAGES + 1))
    assert wants_pause(assigned)
    assigned.paused_at = 10.0
    assert not wants_resume(assigned, 20.0)
    assigned.admit(100, 10**6)
    assigned.overflow.clear()
    assigned.finish([0, 1, 2, 3])
    receive(assigned, raw, *range(6000, 6003))
    assigned.limit = 16

    assert not wants_resume(assigned, 10.5)
    assert wants_resume(assigned, 11.0)


def test_a_pause_ends_before_fast_handlers_stand_still(assigned: Assigned, raw: Any) -> None:
    assigned.limit = 1000
    receive(assigned, raw, *range(1000))
    assigned.admit(1000, 10**6)
    assigned.paused_at = 10.0
    assigned.finish(range(500))

    assert not wants_resume(assigned, 10.5)
    assigned.finish(range(500, 900))
    assert wants_resume(assigned, 10.5)
