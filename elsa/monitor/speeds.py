"""How fast things go: groups by committed offsets, handlers by what workers have counted; pure, for `elsa top`."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from elsa.control.protocol import Tally
    from elsa.monitor.grades import Key
    from elsa.monitor.look import Look, Report

#: what the rate of a partition is taken over
WINDOW_SECONDS = 30.0
#: outcomes that are no success
FAILED = ("failed", "dead", "timeout", "halted", "retried")


@dataclass(frozen=True, slots=True)
class Rate:
    """Messages a second: committed by the group, and come in; None while that is not known."""

    done: float | None
    incoming: float | None


class Flow:
    """Keeps where groups were at the looks of the last half minute; one thread."""

    def __init__(self) -> None:
        self._samples: dict[Key, deque[tuple[float, int | None, int]]] = {}

    def take(self, look: Look) -> dict[Key, Rate]:
        """One look; the rates since the oldest one that is remembered."""
        kept = {}
        for group in look.groups:
            for each in group.partitions:
                key = (group.name, each.topic, each.partition)
                samples = kept[key] = self._samples.get(key) or deque()
                samples.append((look.at, each.committed, each.end))
                while len(samples) > 2 and samples[1][0] <= look.at - WINDOW_SECONDS:
                    samples.popleft()
        self._samples = kept
        return {key: _rate(samples) for key, samples in kept.items()}


def _rate(samples: deque[tuple[float, int | None, int]]) -> Rate:
    (began, first, end_then), (now, last, end_now) = samples[0], samples[-1]
    seconds = now - began
    if seconds <= 0:
        return Rate(None, None)
    # a group that goes back does not work backwards, and a topic that was made anew does not shrink
    done = max(0, last - first) / seconds if first is not None and last is not None else None
    return Rate(done, max(0, end_now - end_then) / seconds)


@dataclass(slots=True)
class HandlerSpeed:
    """One handler on one topic, of all workers that report it; rates are messages a second.

    `p95` is in seconds, None when nothing ran or no worker has reported twice.
    """

    group: str | None
    topic: str
    handler: str
    workers: int = 0
    running: int = 0
    rate: float | None = None
    failing: float | None = None
    p95: float | None = None
    #: messages since the workers began, by what came of them
    outcomes: dict[str, int] = field(default_factory=dict)
    exceptions: int = 0


def handlers(reports: Mapping[str, Report]) -> list[HandlerSpeed]:
    """Every handler that a worker has reported."""
    found: dict[tuple[str | None, str, str], HandlerSpeed] = {}
    spreads: dict[tuple[str | None, str, str], Counter[float]] = {}
    for report in reports.values():
        earlier = {_key(tally): tally for tally in report.before[1]} if report.before else {}
        seconds = report.stamp - report.before[0] if report.before else 0.0
        for tally in report.status.tallies or ():
            key = _key(tally)
            one = found.setdefault(key, HandlerSpeed(*key))
            one.workers += 1
            one.running += tally.running
            for outcome, count in tally.outcomes.items():
                one.outcomes[outcome] = one.outcomes.get(outcome, 0) + count
            one.exceptions += tally.exceptions
            if seconds > 0:
                _add_rates(one, tally, earlier.get(key), seconds)
                spreads.setdefault(key, Counter()).update(_calls(tally, earlier.get(key)))
    for key, spread in spreads.items():
        found[key].p95 = quantile(0.95, spread)
    return [found[key] for key in sorted(found, key=lambda key: (key[0] or "", *key[1:]))]


def _key(tally: Tally) -> tuple[str | None, str, str]:
    return tally.group, tally.topic, tally.handler


def _add_rates(one: HandlerSpeed, now: Tally, before: Tally | None, seconds: float) -> None:
    new = Counter(now.outcomes)
    if before is not None:
        new.subtract(before.outcomes)
    one.rate = (one.rate or 0.0) + sum(new.values()) / seconds
    one.failing = (one.failing or 0.0) + sum(new[outcome] for outcome in FAILED) / seconds


def _calls(now: Tally, before: Tally | None) -> Counter[float]:
    """The calls since then, by the upper bound of how long they took."""
    new = Counter({_bound(bound): count for bound, count in now.spread})
    if before is not None:
        new.subtract({_bound(bound): count for bound, count in before.spread})
    return new


def _bound(bound: float | None) -> float:
    return float("inf") if bound is None else bound


def quantile(share: float, spread: Mapping[float, int]) -> float | None:
    """How long that share of the calls took at most, between the bounds of its bucket; None without a call.

    As Prometheus does it: evenly spread inside a bucket, and the highest bound for what lies above all of them.

    >>> quantile(0.5, {0.1: 10, 0.2: 10}), quantile(0.75, {0.1: 10, 0.2: 10}), quantile(0.9, {})
    (0.1, 0.15000000000000002, None)
    """
    total = sum(spread.values())
    if total <= 0:
        return None
    wanted, seen, below = share * total, 0, 0.0
    for bound, count in sorted(spread.items()):
        if count > 0 and seen + count >= wanted:
            return below if bound == float("inf") else below + (bound - below) * (wanted - seen) / count
        seen += count
        below = bound
    return below


def total(rates: Iterable[float | None]) -> float | None:
    """The sum of what is known, None when nothing is."""
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None
