"""Metric values as plain tuples, and their text for Prometheus; used by `metrics`, `merge` and `http`.

Plain, because they travel between processes (pickle or JSON) and because the supervisor, which merges
and serves them, starts without prometheus_client.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from elsa.observe.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from elsa.observe.catalogue import Metric
    from elsa.observe.instruments import Histogram

Labels = tuple[tuple[str, str], ...]
#: (labels, the value that was observed, wall-clock seconds or None): one observation that a bucket stands for
Exemplar = tuple[Labels, float, float | None]
#: (series name, labels, value, its exemplar)
Sample = tuple[str, Labels, float, Exemplar | None]
#: (name as exported, Prometheus type, help, samples)
Family = tuple[str, str, str, list[Sample]]

_SPECIAL = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Page:
    """Collects the samples of one scrape, by metric of the catalogue."""

    def __init__(self) -> None:
        self._samples: dict[str, list[Sample]] = {}

    def add(self, metric: Metric, values: Sequence[str], value: float) -> None:
        """One sample; `values` in the order of the metric's labels."""
        self.put(metric, tuple(zip(metric.labels, values, strict=True)), value)

    def put(self, metric: Metric, labels: Labels, value: float) -> None:
        """The same with labels that are made already, for many metrics with the same ones."""
        self._samples.setdefault(metric.name, []).append((metric.name, labels, value, None))

    def histogram(self, metric: Metric, values: Sequence[str], histogram: Histogram) -> None:
        """All samples of one histogram."""
        labels = tuple(zip(metric.labels, values, strict=True))
        samples = self._samples.setdefault(metric.name, [])
        bucket, running = f"{metric.name}_bucket", 0
        buckets = zip(_les(histogram.bounds), histogram.counts, histogram.exemplars, strict=True)
        for le, count, exemplar in buckets:
            running += count
            # it is told while its slice runs, and counted when that ends: an empty bucket has none
            samples.append((bucket, (*labels, le), running, exemplar if count else None))
        samples.append((f"{metric.name}_count", labels, running, None))
        samples.append((f"{metric.name}_sum", labels, histogram.total, None))

    def families(self) -> list[Family]:
        """What was collected, in the catalogue's order; a metric that is not in it is a KeyError."""
        if unknown := self._samples.keys() - CATALOGUE.keys():
            raise KeyError(f"metrics {', '.join(sorted(unknown))} are not in elsa.observe.catalogue")
        return [
            (name, metric.kind, metric.help, self._samples[name])
            for name, metric in CATALOGUE.items()
            if name in self._samples
        ]


def from_prometheus(collected: Iterable[Any]) -> Iterator[Family]:
    """The families of a prometheus_client registry's `collect()`, without the `_created` series."""
    for metric in collected:
        suffix = {"counter": "_total", "info": "_info"}.get(metric.type, "")
        kind = {"info": "gauge", "stateset": "gauge", "unknown": "untyped"}.get(metric.type, metric.type)
        created = f"{metric.name}_created"
        samples: list[Sample] = [
            (sample.name, tuple(sample.labels.items()), sample.value, _exemplar(sample.exemplar))
            for sample in metric.samples
            if sample.name != created
        ]
        yield metric.name + suffix, kind, metric.documentation, samples


def _exemplar(found: Any) -> Exemplar | None:
    if found is None:
        return None
    at = None if found.timestamp is None else float(found.timestamp)
    return tuple(found.labels.items()), float(found.value), at


def number(value: float) -> str:
    """A value as Prometheus writes it."""
    if type(value) is int:
        return f"{value}.0"
    text = repr(float(value))
    return _SPECIAL.get(text, text)


@functools.lru_cache(maxsize=256)
def _les(bounds: tuple[float, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(("le", number(bound)) for bound in (*bounds, math.inf))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


# a page of a thousand partitions has 50,000 pairs, of which few are different
@functools.lru_cache(maxsize=8_192)
def _pair(pair: tuple[str, str]) -> str:
    key, text = pair
    return f'{key}="{_escaped(text)}"'


def _line(sample: Sample) -> str:
    name, labels, value, _ = sample
    if not labels:
        return f"{name} {number(value)}\n"
    return f"{name}{{{','.join(map(_pair, labels))}}} {number(value)}\n"


def _line_with_exemplar(sample: Sample) -> str:
    line, exemplar = _line(sample), sample[3]
    if exemplar is None:
        return line
    labels, value, at = exemplar
    # not by `_pair`: hardly one comes twice
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    when = "" if at is None else f" {at:.3f}"
    return f"{line[:-1]} # {{{pairs}}} {number(value)}{when}\n"


def render(families: Iterable[Family], *, openmetrics: bool = False) -> bytes:
    r"""The text of one scrape, in Prometheus' format or in OpenMetrics', which alone has exemplars.

    Names of series are the same in both; OpenMetrics' title of a counter has no `_total`.

    >>> render([("jobs_total", "counter", "Jobs.", [("jobs_total", (("queue", "a"),), 2.0, None)])])
    b'# HELP jobs_total Jobs.\n# TYPE jobs_total counter\njobs_total{queue="a"} 2.0\n'
    """
    lines, line = [], _line_with_exemplar if openmetrics else _line
    for name, kind, text, samples in families:
        if openmetrics:
            title = name.removesuffix("_total") if kind == "counter" else name
            kind_shown, help_shown = ("unknown" if kind == "untyped" else kind), _escaped(text)
        else:
            title, kind_shown, help_shown = name, kind, text.replace("\\", r"\\").replace("\n", r"\n")
        lines.append(f"# HELP {title} {help_shown}\n# TYPE {title} {kind_shown}\n")
        lines.extend(map(line, samples))
    if openmetrics:
        lines.append("# EOF\n")
    return "".join(lines).encode()
