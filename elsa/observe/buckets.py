"""Which buckets a histogram has: the catalogue's, half of them, or the user's own; asked when one is made."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from elsa.errors import ConfigError
from elsa.observe.catalogue import CATALOGUE, PROCESS_DURATION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.observe.catalogue import Metric

_NONE: Mapping[str, Sequence[float]] = MappingProxyType({})


class Buckets:
    """`own` has bounds by metric, `handlers` those of the run time by handler; `histograms` is full or coarse.

    Raises ConfigError for a metric that is no histogram.

    >>> from elsa.observe.catalogue import COMMIT_DURATION
    >>> Buckets("coarse").of(COMMIT_DURATION)
    (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
    """

    def __init__(
        self,
        histograms: str = "full",
        own: Mapping[str, Sequence[float]] = _NONE,
        handlers: Mapping[str, Sequence[float]] = _NONE,
    ) -> None:
        known = sorted(name for name, metric in CATALOGUE.items() if metric.kind == "histogram")
        for name in own:
            if name not in known:
                raise ConfigError(f"metrics_buckets names {name!r}, which is no histogram", hint=f"use {known}")
        self._is_coarse = histograms == "coarse"
        self._own = own
        self._handlers = handlers

    def of(self, metric: Metric, handler: str | None = None) -> tuple[float, ...]:
        """The upper bounds of a histogram; what a handler or the App says counts before the catalogue."""
        if metric is PROCESS_DURATION and handler is not None and handler in self._handlers:
            return tuple(self._handlers[handler])
        if metric.name in self._own:
            return tuple(self._own[metric.name])
        # every second one, the last included
        return metric.buckets[::-1][::2][::-1] if self._is_coarse else metric.buckets
