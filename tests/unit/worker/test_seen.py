"""The ids of handled messages are read again and again, until that succeeds or their partition has gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM
from elsa.testing.clock import FakeClock
from elsa.worker.seen import Loading, Seen

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_loading_that_fails_ends_with_its_partition() -> None:
    later: list[Callable[[], None]] = []
    posted: list[Any] = []
    owners = [True]
    # it has no topics, so nothing can be loaded
    app: Any = SimpleNamespace()
    assigned: Any = SimpleNamespace(source="orders")
    seen = Seen("orders.billing.seen", 0, "id", SYSTEM)
    loading = Loading(app, assigned, seen, lambda _, run: later.append(run), posted.append, is_ours=lambda: owners[0])
    loading.start()
    for _ in range(3):
        later.pop()()
        assert len(later) == 1
    owners[0] = False
    later.pop()()

    assert (later, posted) == ([], [])


def test_who_waits_for_another_one_looks_soon_at_first_and_seldom_later() -> None:
    clock = FakeClock()
    seen = Seen("t.seen", 0, "id", clock)
    seen.claim(b"1", 7)
    at_first = seen.patience(b"1")
    clock.advance(1.0)
    later = seen.patience(b"1")

    assert (at_first, later) == (0.02, 0.2)
    seen.release([7])
    assert seen.claim(b"1", 8)
    assert seen.patience(b"1") == at_first
