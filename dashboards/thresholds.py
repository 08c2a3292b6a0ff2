"""The numbers behind the alerts and the colours of the boards, in one place; `build.py --set` changes them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts as too much; times are seconds, `faster` divides every window and every `for` of the rules."""

    #: age of the oldest message that is not finished
    lag_age_seconds: float = 300.0
    #: a lag below this may grow
    growing_messages: float = 1_000.0
    #: how long a partition may have lag and commit nothing
    stalled_seconds: float = 600.0
    #: share of attempts that fail, and how many messages make a share worth looking at
    error_ratio: float = 0.05
    error_messages: float = 20.0
    #: attempts on the message at the head of a partition
    head_attempts: float = 5.0
    #: how long a group manager may not come round
    poll_seconds: float = 60.0
    #: revokes and losses within `rebalance_seconds`, for each worker process
    rebalances_per_process: float = 3.0
    rebalance_seconds: float = 900.0
    #: share of busy slots, and the age from which on it hurts
    busy_ratio: float = 0.95
    busy_age_seconds: float = 60.0
    #: share of the producer's queue
    producer_ratio: float = 0.9
    #: divides windows and `for`, not the values: 60 makes minutes into seconds, for trying alerts out
    faster: float = 1.0

    def window(self, seconds: float) -> str:
        """A duration as Prometheus writes it, at least a second.

        >>> Thresholds().window(600), Thresholds(faster=60).window(600), Thresholds().window(90)
        ('10m', '10s', '90s')
        """
        whole = max(1, round(seconds / self.faster))
        return f"{whole // 60}m" if whole % 60 == 0 else f"{whole}s"

    def changed(self, settings: list[str]) -> Thresholds:
        """The same with some values replaced, each given as NAME=VALUE; ValueError names what is wrong.

        >>> Thresholds().changed(["lag_age_seconds=60"]).lag_age_seconds
        60.0
        """
        known = [each.name for each in fields(self)]
        values = {}
        for setting in settings:
            name, _, text = setting.partition("=")
            if name not in known:
                raise ValueError(f"there is no threshold {name!r}; there are {', '.join(known)}")
            try:
                values[name] = float(text)
            except ValueError:
                raise ValueError(f"threshold {name} needs a number, as in {name}=60, not {text!r}") from None
            if not 0 < values[name] < float("inf"):
                raise ValueError(f"threshold {name} has to be above 0, not {text}")
            if name.endswith("_ratio") and values[name] >= 1:
                raise ValueError(f"threshold {name} is a share of 1 and has to be below it, not {text}")
        return replace(self, **values)
