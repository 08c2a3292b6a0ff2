"""Whether something grows: a line through the second half of its values, and a limit for what it may have gained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What the line may gain in the second half. Memory goes up and down by some MB with what is in hand at a moment, and
#: allocators keep what they had at a peak; a leak of a few bytes for each message passes both within ten minutes.
SHARE = 0.05
MEGABYTES = 10.0
#: A process takes one to three minutes to its full size, depending on the machine: the second half of a shorter run
#: says nothing of what a longer one would.
LEAST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Growth:
    """The second half of a series: its level, what its line gained from begin to end, and what it might."""

    level: float
    gained: float
    limit: float
    is_judged: bool = True

    @property
    def is_flat(self) -> bool:
        return self.gained <= self.limit or not self.is_judged


def growth(
    times: Sequence[float], values: Sequence[float], *, share: float = SHARE, least: float = MEGABYTES
) -> Growth:
    """Fit a line (least squares) through the second half; it may gain a share of the level, and always `least`.

    A series of less than LEAST_SECONDS has a line, and no judgement.
    """
    middle = (times[0] + times[-1]) / 2
    points = [(at, value) for at, value in zip(times, values, strict=True) if at >= middle]
    if len(points) < 3:
        raise ValueError(f"{len(points)} values of the second half make no line")
    mean_at = sum(at for at, _ in points) / len(points)
    level = sum(value for _, value in points) / len(points)
    spread = sum((at - mean_at) ** 2 for at, _ in points)
    slope = sum((at - mean_at) * (value - level) for at, value in points) / spread
    gained = slope * (points[-1][0] - points[0][0])
    return Growth(level, gained, max(share * level, least), times[-1] - times[0] >= LEAST_SECONDS)
