"""The ids of handled messages are read again and again, until that succeeds or their partition has gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM
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
