"""PromQL pieces for boards and alerts, each made from the catalogue: an unknown metric or label is an error here."""

from __future__ import annotations

from elsa.observe.catalogue import CATALOGUE, OF_MONITOR

#: what a process exports beside the catalogue, with its labels
SURROUNDINGS: dict[str, tuple[str, ...]] = {
    "process_cpu_seconds_total": (),
    "process_resident_memory_bytes": ("process",),
    "process_open_fds": ("process",),
    "python_gc_collections_total": ("generation",),
}
#: the board's variables that narrow an expression, where the metric has such a label
VARIABLES = ("group", "topic", "handler")
OUTSIDE = frozenset(metric.name for metric in OF_MONITOR)


def labels_of(name: str) -> tuple[str, ...]:
    """The labels of a metric, without those that Prometheus adds (`job`, `instance`)."""
    if name in SURROUNDINGS:
        return SURROUNDINGS[name]
    metric = CATALOGUE[name]
    return (*metric.labels, "process") if metric.merge == "process" else metric.labels


def pick(name: str, suffix: str = "", **matchers: str) -> str:
    """A selector of one metric: the board's variables first, then `matchers` as regular expressions.

    What `elsa monitor` exports is not narrowed by `$job`: it has a job of its own.

    >>> pick("elsa_partitions_assigned")
    'elsa_partitions_assigned{job=~"$job",group=~"$group",topic=~"$topic"}'
    """
    labels = labels_of(name)
    _check(name, labels, matchers)
    given = [] if name in OUTSIDE else ['job=~"$job"']
    given += [f'{label}=~"${label}"' for label in VARIABLES if label in labels and label not in matchers]
    given += [_matcher(label, value) for label, value in matchers.items()]
    return f"{name}{suffix}{{{','.join(given)}}}"


def bare(name: str, suffix: str = "", **matchers: str) -> str:
    """A selector for rules, which know no variables.

    >>> bare("elsa_commits_total", outcome="error")
    'elsa_commits_total{outcome="error"}'
    """
    _check(name, labels_of(name), matchers)
    inside = ",".join(_matcher(label, value) for label, value in matchers.items())
    return f"{name}{suffix}{{{inside}}}" if inside else f"{name}{suffix}"


def rate(name: str, suffix: str = "", **matchers: str) -> str:
    """How fast a counter grows, a second."""
    return f"rate({pick(name, suffix, **matchers)}[$__rate_interval])"


def quantile(share: float, name: str, by: str = "", **matchers: str) -> str:
    """A quantile of a histogram, by labels ("handler" or "group, topic")."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, sum by ({labels}) ({rate(name, '_bucket', **matchers)}))"


def per_partition(name: str, **matchers: str) -> str:
    """A gauge of partitions, each once: while a partition moves, two workers may show it."""
    return f"max by (group, topic, partition) ({pick(name, **matchers)})"


def _matcher(label: str, value: str) -> str:
    sign = "=~" if set("|.*+") & set(value) else "="
    return f'{label}{sign}"{value}"'


def _check(name: str, labels: tuple[str, ...], matchers: dict[str, str]) -> None:
    unknown = sorted(set(matchers) - set(labels))
    if unknown:
        raise ValueError(f"{name} has no label {', '.join(unknown)}; it has {', '.join(labels) or 'none'}")
