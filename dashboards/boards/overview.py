"""The overview: is everything well, how far behind is it, is there room; where to look next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.board import Board
from dashboards.panels import Column, Line, leading, lines, number, table
from dashboards.query import per_partition, pick, rate
from dashboards.rules import FAILED

if TYPE_CHECKING:
    from dashboards.panels import Panel
    from dashboards.thresholds import Thresholds

PROCESSED = "elsa_messages_processed_total"
LAG = f"sum by (group, topic) ({per_partition('elsa_consumer_lag_messages')})"
AGE = "max by (group, topic) ({})"


def overview(limits: Thresholds) -> Board:
    """The board to begin with."""
    return Board(
        "overview",
        "Elsa: overview",
        "Is everything well, how far behind is it, is there room?",
        (
            ("At a glance", _glance(limits)),
            ("Work", _work(limits)),
            ("Behind", leading("topics", *_behind(limits))),
            ("Room", leading("runtime", *_room(limits))),
        ),
    )


def _glance(limits: Thresholds) -> tuple[Panel, ...]:
    return (
        *leading("topics", *_waiting(limits)),
        *leading("handlers", *_failing(limits)),
        *leading("runtime", _processes()),
    )


def _waiting(limits: Thresholds) -> tuple[Panel, ...]:
    return (
        number(
            "Oldest message",
            "How long has the message waited that waits longest? The first thing to look at.",
            "s",
            f"max({pick('elsa_topic_lag_seconds')})",
            limit=limits.lag_age_seconds,
        ),
        number(
            "Behind",
            "How many messages wait, at most? Compaction and transactions leave gaps that count.",
            "short",
            f"sum({per_partition('elsa_consumer_lag_messages')})",
        ),
    )


def _failing(limits: Thresholds) -> tuple[Panel, ...]:
    failed = f"sum({rate(PROCESSED, outcome=FAILED)})"
    return (
        number("Done", "How many messages are done a second?", "ops", f"sum({rate(PROCESSED, outcome='ok')})"),
        number(
            "Failing",
            "Which share of the attempts fails for good?",
            "percentunit",
            f"{failed} / sum({rate(PROCESSED)})",
            limit=limits.error_ratio,
        ),
        number(
            "Dead letters",
            "How many messages were given up in the time shown?",
            "short",
            f"sum(increase({pick('elsa_dead_letters_total')}[$__range]))",
            limit=1,
        ),
    )


def _processes() -> Panel:
    return number(
        "Worker processes",
        "How many worker processes run?",
        "short",
        f"sum({pick('elsa_worker_processes', state='running')})",
    )


def _work(limits: Thresholds) -> tuple[Panel, ...]:
    by_group = f"sum by (group) ({rate(PROCESSED, outcome=FAILED)}) / sum by (group) ({rate(PROCESSED)})"
    return (
        lines(
            "Throughput",
            "How many attempts come to an end a second, by topic?",
            "ops",
            Line(f"sum by (topic) ({rate(PROCESSED)})", "{{topic}}"),
        ),
        lines(
            "Share that fails",
            "Does a group fail more than it should? Dead letters, failures, timeouts and halts; retries do not count.",
            "percentunit",
            Line(by_group, "{{group}}"),
            limit=limits.error_ratio,
        ),
        table(
            "Alerts that fire",
            "What is wrong now? The runbook of each is in dashboards/runbooks.",
            Column("Firing", 'count by (alertname, severity, group, topic) (ALERTS{alertstate="firing"})'),
            width=8,
            height=8,
            hidden=("Time", "Value"),
        ),
    )


def _behind(limits: Thresholds) -> tuple[Panel, ...]:
    drain = f"{LAG} / (sum by (group, topic) ({rate(PROCESSED, outcome='ok|dead|skipped|continued')}) > 0)"
    return (
        lines(
            "Age of the oldest message",
            "How late is the work? Flat at 0: caught up; rising one second a second: nothing moves.",
            "s",
            Line(AGE.format(pick("elsa_topic_lag_seconds")), "{{group}} {{topic}}"),
            limit=limits.lag_age_seconds,
        ),
        lines(
            "Messages behind",
            "How much waits? A partition that two workers show while it moves counts once.",
            "short",
            Line(LAG, "{{group}} {{topic}}"),
            limit=limits.growing_messages,
        ),
        lines(
            "Time to catch up",
            "If nothing more came: how long would it take at the present rate?",
            "s",
            Line(drain, "{{group}} {{topic}}"),
        ),
    )


def _room(limits: Thresholds) -> tuple[Panel, ...]:
    busy, slots = (f"sum by (group, handler) ({pick(f'elsa_worker_slots{end}')})" for end in ("_busy", ""))
    return (
        lines(
            "Busy slots",
            "Which share of a handler's calls that may run at once do run? Near 1 while messages age: add workers.",
            "percentunit",
            Line(f"{busy} / {slots}", "{{handler}}"),
            limit=limits.busy_ratio,
            ceiling=1,
            width=6,
        ),
        lines(
            "Processes by worker",
            "Which workers are there, and how many processes has each?",
            "short",
            Line(f"sum by (instance) ({pick('elsa_worker_processes', state='running')})", "{{instance}}"),
            is_stacked=True,
            width=6,
        ),
        lines(
            "Members by group",
            "How many members does the coordinator count? 0: nobody works. From elsa monitor.",
            "short",
            Line(f"max by (group) ({pick('elsa_group_members')})", "{{group}}"),
            width=6,
        ),
        lines(
            "Versions",
            "Which versions run, and on how many workers? Two at a time: a deploy, or one that stopped half way.",
            "short",
            Line(f"count by (version) ({pick('elsa_build_info')})", "{{version}}"),
            is_stacked=True,
            width=6,
        ),
    )
