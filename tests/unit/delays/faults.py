"""What can happen to a mover at a step of a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.errors import BrokerUnavailable, FatalClientError, TransactionAborted

from .simulation import Crash

if TYPE_CHECKING:
    from collections.abc import Callable

    from .simulation import SimulatedMover

#: seconds, from a moment to some days
WAITS = (0.1, 0.9, 1.0, 2.5, 4.0, 7.3, 20.0, 65.0, 300.0, 5_000.0, 100_000.0)


def crash(mover: SimulatedMover) -> None:
    """Killed; a static member's successor comes at once."""
    world = mover.world
    world.gone(mover)
    world.add_mover(mover.name if mover.is_static else None, is_static=mover.is_static)
    raise Crash


def vanish(mover: SimulatedMover) -> None:
    """Killed, and its host is gone."""
    mover.world.gone(mover)
    raise Crash


def abort(mover: SimulatedMover) -> None:
    raise TransactionAborted("the broker had it aborted", code="UNKNOWN_PRODUCER_ID")


def lose(mover: SimulatedMover) -> None:
    """What was done is done or not; nobody knows."""
    raise BrokerUnavailable("no answer came", code="_TIMED_OUT")


def break_down(mover: SimulatedMover) -> None:
    raise FatalClientError("out of order", code="_FATAL")


def freeze(mover: SimulatedMover) -> None:
    """It stands still for so long that others take its partitions, and its transaction is aborted."""
    mover.world.freeze(mover, 21.0)


def blink(mover: SimulatedMover) -> None:
    """It stands still for a moment in which the group is rebalanced."""
    mover.world.add_mover(is_static=False)
    mover.world.freeze(mover, 2.0)


ACTIONS: list[Callable[[SimulatedMover], None]] = [crash, vanish, abort, lose, break_down, freeze, blink]
