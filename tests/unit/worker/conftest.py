"""Messages, simulated brokers and members for the tests of the engine's parts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from elsa.message import TopicPartition
from elsa.observer import HandlerObserver
from elsa.worker import batches, delivery, turns
from elsa.worker.assigned import Assigned

from . import simulation
from .parts import Raw, Taker
from .simulation import Broker, Member, filled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def raw() -> type[Raw]:
    """`raw(offset, value, topic=, partition=, key=, headers=, timestamp=)` makes a message as polled."""
    return Raw


@pytest.fixture
def simulated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let turns of simulated members last as long as their clocks say."""
    for module in (batches, delivery, turns):
        monkeypatch.setattr(module, "_counter", simulation.counter)


@pytest.fixture
def broker() -> Broker:
    """Two partitions with six messages each, each of a key of its own."""
    return filled(6, 6)


@pytest.fixture
def join(broker: Broker, simulated_time: None) -> Iterator[Callable[..., Member]]:
    """`join(assign, **fields)` makes a member that is given these partitions with its first poll (`simulation.Join`).

    A `name` may come again: its former member is no worker of it any more, whatever it still does.
    """
    made: list[Member] = []

    def make(assign: tuple[int, ...] = (0, 1), *, most: int = 3, **fields: Any) -> Member:
        for former in made:
            former.app.stop()
        member = Member(broker, **fields)
        made.append(member)
        member.consumer.most = most
        member.rebalance(assign=assign)
        return member

    yield make
    for member in made:
        member.end()


@pytest.fixture
def assigned() -> Assigned:
    """A partition from the offset 0 on, of which four messages may be in hand."""
    binding: Any = SimpleNamespace(name="h")
    made = Assigned(TopicPartition("t", 0), binding, HandlerObserver(), base=0, limit=4)
    made.worker = Taker()  # type: ignore[assignment]  # a stand-in
    return made
