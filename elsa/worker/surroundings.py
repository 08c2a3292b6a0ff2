"""What the group managers of one process share; made by whoever runs them, read by all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from elsa.worker.caution import Caution

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.worker.budget import Budget
    from elsa.worker.executors import Executors
    from elsa.worker.pace import Paces
    from elsa.worker.settlement import Settlement
    from elsa.worker.slots import Slot


@dataclass(slots=True)
class Surroundings:
    """What the group managers of one process share."""

    app: App
    executors: Executors
    settlement: Settlement
    budget: Budget
    clock: Clock
    fail: Callable[[str, int], None]
    paces: Paces
    caution: Caution = field(default_factory=Caution)
    slot: Slot | None = None
    instance: str | None = None
    #: told of the name under which a member goes on whose own somebody else has now
    renamed: Callable[[str], None] = lambda _: None
    index: int = 0
    processes: int = 1
    #: whether anybody asks if everything is caught up
    is_burst: bool = False
    positions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: told when a client says that no broker is there
    doubt: Callable[[], None] = lambda: None
