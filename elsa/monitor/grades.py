"""Grades how a group does in a partition over a window of looks: ok, warn, rewind, stall or stop.

The grades are Burrow's, whose rules read every commit in Kafka's own topic; here looks take their place, so that no
right to that topic is needed. A look cannot see that one and the same offset was committed again. Whether somebody is
there shows in the partition's owner instead.

| grade | when messages wait at the end of the window, and did at every look of it |
|---|---|
| `stop` | nobody is there: for the whole window there was no owner, and the committed offset did not move |
| `rewind` | the committed offset went back, and has not come again to where it was |
| `stall` | somebody is there, and the committed offset did not move in the whole window |
| `warn` | it moves, and the lag has grown and never fallen in the whole window |
| `ok` | everything else; so it is, too, until the looks fill the window (but for `rewind`) |
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from elsa.monitor.look import GroupState

Grade = Literal["ok", "warn", "rewind", "stall", "stop"]
Key = tuple[str, str, int]

#: what is worse comes later
SEVERITY: tuple[Grade, ...] = ("ok", "warn", "rewind", "stall", "stop")
#: a trend needs so many looks, whatever time they span
_LEAST_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One partition at one look: `at` in seconds of any clock, `committed` None before a commit."""

    at: float
    committed: int | None
    lag: int
    is_owned: bool


def grade(samples: Sequence[Sample], window: float) -> Grade:
    """The grade of a partition whose samples, oldest first, span the last `window` seconds.

    >>> def seen(*offsets, lag, is_owned=True):
    ...     return [Sample(10.0 * i, offset, lag[i], is_owned) for i, offset in enumerate(offsets)]
    >>> grade(seen(5, 9, 15, lag=[10, 8, 9]), 20)
    'ok'
    >>> grade(seen(5, 6, 7, lag=[10, 12, 15]), 20)
    'warn'
    >>> grade(seen(9, 4, 5, lag=[1, 9, 9]), 20)
    'rewind'
    >>> grade(seen(5, 5, 5, lag=[1, 2, 3]), 20)
    'stall'
    >>> grade(seen(5, 5, 5, lag=[1, 2, 3], is_owned=False), 20)
    'stop'
    >>> grade(seen(5, 5, 5, lag=[1, 0, 3]), 20)
    'ok'
    """
    if not samples or not all(sample.lag for sample in samples):
        return "ok"
    is_full = len(samples) >= _LEAST_LOOKS and samples[-1].at - samples[0].at >= window
    moved = any(before.committed != after.committed for before, after in pairwise(samples))
    if is_full and not moved and not any(sample.is_owned for sample in samples):
        return "stop"
    # nothing committed any more, after something was, is a way back to the beginning
    offsets = [-1 if sample.committed is None else sample.committed for sample in samples]
    if offsets[-1] < max(offsets):
        return "rewind"
    if is_full and not moved:
        return "stall"
    lags = [sample.lag for sample in samples]
    if is_full and lags[-1] > lags[0] and all(before <= after for before, after in pairwise(lags)):
        return "warn"
    return "ok"


class Grades:
    """The windows of all partitions; one thread takes the looks, any may read the grades.

    Of what is no longer seen nothing is kept. A group that a look could not see (`unseen`) keeps its window.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._samples: dict[Key, deque[Sample]] = {}
        #: replaced as a whole
        self.grades: dict[Key, Grade] = {}

    def take(self, at: float, groups: Iterable[GroupState], unseen: Iterable[str] = ()) -> dict[Key, Grade]:
        """One look; the grades by (group, topic, partition)."""
        kept = set(unseen)
        samples = {key: window for key, window in self._samples.items() if key[0] in kept}
        for group in groups:
            for each in group.partitions:
                key = (group.name, each.topic, each.partition)
                window = samples[key] = self._samples.get(key) or deque()
                window.append(Sample(at, each.committed, each.lag, each.owner is not None))
                # the one that is just outside stays, so that the window is full
                while len(window) > _LEAST_LOOKS and window[1].at <= at - self._window:
                    window.popleft()
        self._samples = samples
        self.grades = {key: grade(window, self._window) for key, window in samples.items()}
        return self.grades


def worst(grades: Iterable[Grade]) -> Grade:
    """The worst of them, ok where there is none.

    >>> worst(["ok", "stop", "warn"])
    'stop'
    """
    return max(grades, key=SEVERITY.index, default="ok")
