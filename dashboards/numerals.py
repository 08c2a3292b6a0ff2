"""Numbers as Grafana writes them beside an axis, by the unit of a panel; the pictures need them."""

from __future__ import annotations

import math

_STEPS = (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")
_TIMES = (86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs")


def written(value: float, unit: str) -> str:
    """A number with its unit, short.

    >>> [written(0.0042, "s"), written(90, "s"), written(0.031, "percentunit"), written(1234, "ops")]
    ['4.2 ms', '1.5 min', '3.1%', '1.23k/s']
    """
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "+Inf"
    if unit == "s":
        return _time(value)
    if unit == "percentunit":
        return f"{_three(value * 100)}%"
    if unit in ("bytes", "Bps"):
        return f"{_large(value)}B{'/s' if unit == 'Bps' else ''}"
    return f"{_large(value)}{'/s' if unit == 'ops' else ''}"


def _time(seconds: float) -> str:
    for size, name in _TIMES:
        if abs(seconds) >= size:
            return f"{_three(seconds / size)} {name}"
    return "0 s"


def _large(value: float) -> str:
    for size, name in _STEPS:
        if abs(value) >= size:
            return f"{_three(value / size)}{name}"
    return _three(value)


def _three(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1_000 else f"{value:.0f}"
