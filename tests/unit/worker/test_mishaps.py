"""What goes wrong in a partition is counted by offset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .parts import receive

if TYPE_CHECKING:
    from elsa.worker.assigned import Assigned


def test_crashes_are_counted_for_each_offset_until_it_is_done(assigned: Assigned, raw: Any) -> None:
    receive(assigned, raw, *range(4))
    assigned.admit(100, 10**6)

    def crash(offset: int | None) -> tuple[int, int]:
        at, backoff = assigned.crash(offset)
        backoff.next()
        return at, backoff.failures

    assert [crash(2), crash(3), crash(2), crash(None), crash(2)] == [(2, 1), (3, 1), (2, 2), (0, 1), (2, 3)]
    assigned.finish([0, 1, 2])
    assert [crash(3), crash(None)] == [(3, 2), (3, 3)]
