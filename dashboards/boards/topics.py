"""The topics: which partitions are worst, is what comes in taken out, where will the lag be in an hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.board import Board
from dashboards.panels import Column, Line, lines, table
from dashboards.query import per_partition, pick, rate
from dashboards.rules import LAG_SUM

if TYPE_CHECKING:
    from dashboards.panels import Panel
    from dashboards.thresholds import Thresholds

LAG = per_partition("elsa_consumer_lag_messages")
OWNED = "max by (group, topic, partition, instance) ({})"


def topics(limits: Thresholds) -> Board:
    """The board of partitions and lag."""
    return Board(
        "topics",
        "Elsa: topics",
        "Which partitions are behind, whose are they, and is it getting better?",
        (
            ("Partitions", _partitions()),
            ("Lag", _lag(limits)),
            ("In and out", _flow()),
        ),
    )


def _partitions() -> tuple[Panel, ...]:
    worst = f" and on (group, topic, partition) topk(20, {LAG})"
    return (
        table(
            "The 20 partitions that are most behind",
            "Which partitions are behind, on which worker, and is one message to blame?",
            Column("Behind", OWNED.format(pick("elsa_consumer_lag_messages")) + worst),
            Column("Oldest", OWNED.format(pick("elsa_consumer_lag_seconds")) + worst, "s"),
            Column("Attempts on the head", OWNED.format(pick("elsa_partition_head_attempts")) + worst),
            Column("Done, not committed", OWNED.format(pick("elsa_uncommitted_messages")) + worst),
            width=16,
        ),
        table(
            "Partitions that are not well",
            "Which partitions does elsa monitor grade as anything but ok? It sees them without any worker, too.",
            Column(
                "Grade",
                "max by (group, topic, partition, status) "
                f"({pick('elsa_group_partition_status', status='warn|rewind|stall|stop')}) == 1",
            ),
            width=8,
            hidden=("Time", "Value"),
        ),
    )


def _lag(limits: Thresholds) -> tuple[Panel, ...]:
    recorded = f'{LAG_SUM}{{group=~"$group",topic=~"$topic"}}'
    outside = f"sum by (group, topic) (max by (group, topic, partition) ({pick('elsa_group_lag_messages')}))"
    outside_age = f"max by (group, topic) ({pick('elsa_group_lag_seconds')})"
    return (
        lines(
            "Messages behind, from inside and outside",
            "Do the workers and the broker agree? Outside only: the workers are gone.",
            "short",
            Line(f"sum by (group, topic) ({LAG})", "{{group}} {{topic}} workers"),
            Line(outside, "{{group}} {{topic}} broker"),
            width=12,
            limit=limits.growing_messages,
        ),
        lines(
            "Oldest message, from inside and outside",
            "How late is the work, by the workers and by the broker?",
            "s",
            Line(f"max by (group, topic) ({pick('elsa_topic_lag_seconds')})", "{{group}} {{topic}} workers"),
            Line(outside_age, "{{group}} {{topic}} broker"),
            width=12,
            limit=limits.lag_age_seconds,
        ),
        lines(
            "Skew",
            "Is one partition worse than the others? The worst over the mean: 1 is even.",
            "short",
            Line(f"max by (group, topic) ({LAG}) / (avg by (group, topic) ({LAG}) > 0)", "{{group}} {{topic}}"),
        ),
        lines(
            "Lag in an hour",
            "If it goes on as in the last half hour: how much waits in an hour? Needs the recording rules.",
            "short",
            Line(f"clamp_min(predict_linear({recorded}[30m], 3600), 0)", "{{group}} {{topic}}"),
            limit=limits.growing_messages,
        ),
        lines(
            "Paused partitions",
            "Which partitions take no messages, and why?",
            "short",
            Line(f"sum by (topic, reason) ({pick('elsa_partitions_paused')}) > 0", "{{topic}} {{reason}}"),
            is_stacked=True,
        ),
    )


def _flow() -> tuple[Panel, ...]:
    ends = f"deriv({pick('elsa_partition_high_watermark_offset')}[$__rate_interval])"
    return (
        lines(
            "Coming in, going out",
            "Is what is produced also taken? A gap between the two becomes lag.",
            "ops",
            Line(f"clamp_min(sum by (topic) (max by (topic, partition) ({ends})), 0)", "{{topic}} produced"),
            Line(f"sum by (topic) ({rate('elsa_messages_received_total')})", "{{topic}} taken"),
            width=12,
        ),
        lines(
            "Bytes taken",
            "How much data do the workers take a second?",
            "Bps",
            Line(f"sum by (topic) ({rate('elsa_received_bytes_total')})", "{{topic}}"),
            width=6,
            is_stacked=True,
        ),
        lines(
            "Sent",
            "How many messages do the workers themselves send a second, and how many are refused?",
            "ops",
            Line(f"sum by (topic, outcome) ({rate('elsa_messages_sent_total')})", "{{topic}} {{outcome}}"),
            width=6,
        ),
    )
