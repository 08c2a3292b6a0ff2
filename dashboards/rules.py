"""The recording rules, and the YAML of a file of rules; the alerts themselves are in `alarms.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from dashboards.query import bare

if TYPE_CHECKING:
    from dashboards.thresholds import Thresholds

#: outcomes of attempts after which nothing is tried again by itself
FAILED = "dead|failed|timeout|halted"

LAG_SUM = "group_topic:elsa_consumer_lag_messages:sum"
LAG_AGE = "group_topic:elsa_consumer_lag_seconds:max"
BUSY_RATIO = "group_handler:elsa_worker_slots_busy:ratio"
FAILED_RATIO = "group_topic_handler:elsa_messages_processed_total:failed_ratio"

#: what each recording rule makes, with its labels
RECORDED = {
    LAG_SUM: ("group", "topic"),
    LAG_AGE: ("group", "topic"),
    BUSY_RATIO: ("group", "handler"),
    FAILED_RATIO: ("group", "topic", "handler"),
}
#: seconds over which attempts are counted for a ratio
RATIO_WINDOW = 600.0


def recording_rules(limits: Thresholds) -> list[dict[str, Any]]:
    """What alerts and boards use more than once; a partition that two workers show counts once."""
    window = limits.window(RATIO_WINDOW)
    attempts = "elsa_messages_processed_total"
    failed = f"sum by (group, topic, handler) (increase({bare(attempts, outcome=FAILED)}[{window}]))"
    every = f"sum by (group, topic, handler) (increase({bare(attempts)}[{window}]))"
    busy, slots = (f"sum by (group, handler) ({bare(f'elsa_worker_slots{end}')})" for end in ("_busy", ""))
    return [
        {
            "record": LAG_SUM,
            # above a number of partitions workers export no series of each
            "expr": "sum by (group, topic) (max by (group, topic, partition) "
            f"({bare('elsa_consumer_lag_messages')}))\n"
            f"or sum by (group, topic) ({bare('elsa_topic_lag_messages')})",
        },
        {"record": LAG_AGE, "expr": f"max by (group, topic) ({bare('elsa_topic_lag_seconds')})"},
        {"record": BUSY_RATIO, "expr": f"{busy}\n/ {slots}"},
        {"record": FAILED_RATIO, "expr": f"{failed}\n/ ({every} > 0)"},
    ]


def document(group: str, rules: list[dict[str, Any]]) -> str:
    """A file of rules as Prometheus loads it."""
    body = yaml.dump(
        {"groups": [{"name": group, "rules": rules}]}, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True
    )
    return f"# Made by dashboards/build.py; change the Python files and run `make dashboards`.\n{body}"


class _Dumper(yaml.SafeDumper):
    """Writes expressions of several lines as they are read."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
