"""What a partition worker is made with: what it shares with others, and what those before it have left for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elsa.worker.arrivals import Arrivals
from elsa.worker.caution import Caution

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.worker.executors import Executors
    from elsa.worker.mishaps import Refusal
    from elsa.worker.pace import Paces
    from elsa.worker.seen import Seen
    from elsa.worker.settlement import Settlement


@dataclass(frozen=True, slots=True)
class Equipment:
    """The same for all partition workers of one group manager; each of these looks after its own locks."""

    app: App
    executors: Executors
    settlement: Settlement
    #: puts something into the group manager's mailbox
    post: Callable[[Any], None]
    clock: Clock
    paces: Paces
    caution: Caution = field(default_factory=Caution)


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What is known of unfinished messages from earlier workers and owners of a partition, by offset."""

    #: failed attempts, and what calls had told by `ctx.heartbeat`
    attempts: Mapping[int, int] = field(default_factory=dict)
    progress: Mapping[int, Any] = field(default_factory=dict)
    #: each of these runs by itself
    alone: Collection[int] = ()
    #: these have killed their process too often
    poison: Collection[int] = ()
    #: what the calls of these have sent was refused to their transaction
    refused: Mapping[int, Refusal] = field(default_factory=dict)
    #: when messages came from Kafka; the group manager goes on to note it there
    arrivals: Arrivals = field(default_factory=Arrivals)
    #: which messages were handled before, where the handler asks for that
    seen: Seen | None = None
