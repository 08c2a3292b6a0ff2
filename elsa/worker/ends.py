"""What the end of a worker process means: decided here, without touching anything, for the supervisor, which acts.

Called by the supervisor's loop when a process has ended and its last words were heard.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from elsa.worker.child import LASTING

if TYPE_CHECKING:
    from elsa.worker.child import Child, Place
    from elsa.worker.roll import Roll


class End(Enum):
    """What becomes of the place that a process has left."""

    #: it stays empty: all is stopping, it is one too many, or its work is done
    LAST = auto()
    #: it was asked to end by the roll, which waits for its successor
    RENEWED = auto()
    #: it was asked to end and its place is wanted all the same
    WANTED = auto()
    #: its place is filled later: by the roll, or when the code can be run again
    IDLE = auto()
    #: the code can't be run: nothing is, until it changes
    BROKEN = auto()
    #: a first start failed, or what no restart can heal happened later: the supervisor ends
    FATAL = auto()
    #: it is replaced
    DIED = auto()


def judge(
    place: Place,
    child: Child,
    roll: Roll | None,
    *,
    is_stopping: bool,
    waits_for_code: bool = False,
    is_broken: bool = False,
) -> End:
    """The meaning of the end of `child`, which was in `place`; `is_broken`: code that can be run is waited for."""
    if is_stopping or place.is_done or child.finished in LASTING:
        return End.LAST
    if roll is not None and roll.replaces(place, child):
        return End.RENEWED
    if is_broken:
        # it was told to end then, or failed as the first one did
        return End.IDLE
    if child.is_dismissed:
        return End.WANTED
    if waits_for_code and (child.failure is not None or not child.has_greeted):
        # one that the roll has not come to yet runs the code before the change
        return End.IDLE if roll is not None and roll.will_renew(place) else End.BROKEN
    is_being_tried = roll is not None and roll.tries(child)
    return End.FATAL if _is_fatal(place, child, is_being_tried=is_being_tried) else End.DIED


def _is_fatal(place: Place, child: Child, *, is_being_tried: bool) -> bool:
    if child.failure is None:
        return not child.has_greeted and place.generation == 1
    if not place.has_served:
        return True
    return bool(child.failure.get("fatal")) and child.has_greeted and not is_being_tried
