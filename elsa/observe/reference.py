"""The catalogue as a page for people, `dashboards/metrics.md`; printed by `python -m elsa.observe.catalogue`."""

from __future__ import annotations

from elsa.observe.catalogue import CATALOGUE, OF_MONITOR

_PAGE = """\
# Metrics

Every metric of Elsa's own, made by `python -m elsa.observe.catalogue > dashboards/metrics.md`; do not edit it.

- **Where from.** {of_monitor} come from `elsa monitor` alone,
  the others from workers. Beside them the pages of both have what prometheus_client's default registry holds:
  `python_info`, `python_gc_*`, `process_*`, and users' own metrics.
- **Labels.** `group` is empty for a standalone handler. `topic` is the pattern where a handler has subscribed to one,
  and the topic itself in metrics of single partitions. A task is a `handler` of its own; what belongs
  to the topic of tasks as a whole (slots, messages that name none of them) has the `handler` "tasks of <topic>".
- **Several processes** of one `elsa worker` are one page: counters and histograms are added up, and never fall when a
  process dies; gauges are merged as their type says (`gauge` alone: added up) and vanish with their process. Users'
  own gauges and `process_*` keep a label `process`.
- **Lag** goes up to the last stable offset, so what an open transaction holds back is none. The end of a partition
  that was paused for 10 s is asked for every 15 s. Where nothing is committed, the whole partition is the lag.
- **During a rebalance** two workers may show one partition for a moment, so take
  `sum by (group, topic) (max by (group, topic, partition) (elsa_consumer_lag_messages))`.
- **How many series.** A histogram has its buckets and 3 more. A partition has 6, and none when a process has more
  than 500 of them (`metrics_partition_labels`); the sums by topic stay. `metrics_histograms="coarse"` halves the
  buckets, `metrics_buckets` and a handler's `buckets` replace them.

{table}
## Buckets

{buckets}"""


def table() -> str:
    """The catalogue as a Markdown table."""
    rows = ["| Metric | Type | Labels | Meaning |", "|---|---|---|---|"]
    for metric in CATALOGUE.values():
        labels = ", ".join(
            f"`{name}` ({', '.join(metric.values[name])})" if name in metric.values else f"`{name}`"
            for name in metric.labels
        )
        kind = metric.kind if metric.kind != "gauge" or metric.merge == "sum" else f"gauge ({metric.merge})"
        rows.append(f"| `{metric.name}` | {kind} | {labels} | {f'{metric.help} {metric.meaning}'.strip()} |")
    return "\n".join(rows) + "\n"


def page() -> str:
    """Everything that people are told of the metrics, in Markdown."""
    buckets: dict[tuple[float, ...], list[str]] = {}
    for metric in CATALOGUE.values():
        if metric.buckets:
            buckets.setdefault(metric.buckets, []).append(f"`{metric.name}`")
    lines = [f"- {', '.join(names)}: {' '.join(f'{bound:g}' for bound in found)}\n" for found, names in buckets.items()]
    of_monitor = ", ".join(f"`{metric.name}`" for metric in OF_MONITOR)
    return _PAGE.format(of_monitor=of_monitor, table=table(), buckets="".join(lines))
