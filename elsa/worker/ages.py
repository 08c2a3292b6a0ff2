"""How old messages are when their handler has succeeded, counted from their first send; asked when a turn ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa.policies import retried

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

#: messages whose ages differ by less than this, or by this part of them, count as equally old: asking each one for its
#: time would cost as much as a fast handler
GRAIN_SECONDS, GRAIN_SHARE = 0.02, 0.05


def ages(raws: Sequence[Any], now: float, *, without: Collection[int] = (), is_retry: bool) -> list[tuple[float, int]]:
    """(seconds, messages) of these, in the order of a partition; offsets in `without` do not count.

    `is_retry` says that they came back through a retry topic: then a header says when they were first sent.
    """
    if without:
        raws = [raw for raw in raws if raw.offset() not in without]
    if not raws:
        return []
    if not is_retry:
        first, last = _stamp(raws[0]), _stamp(raws[-1])
        if first is not None and last is not None:
            middle = max(0.0, now - (first + last) / 2)
            if abs(last - first) <= max(GRAIN_SECONDS, GRAIN_SHARE * middle):
                return [(middle, len(raws))]
    moments = [retried.came_at(raw) if is_retry else _stamp(raw) for raw in raws]
    # producers' clocks may run ahead of ours
    return [(max(0.0, now - moment), 1) for moment in moments if moment is not None]


def _stamp(raw: Any) -> float | None:
    kind, milliseconds = raw.timestamp()
    return milliseconds / 1000 if kind else None
