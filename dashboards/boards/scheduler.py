"""Periodic tasks and delayed messages: are they on time, is anything left out, does anything wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.board import Board
from dashboards.panels import Line, lines, number
from dashboards.query import pick, quantile, rate

if TYPE_CHECKING:
    from dashboards.panels import Panel
    from dashboards.thresholds import Thresholds


def scheduler(_: Thresholds) -> Board:
    """The board of what runs by the clock."""
    return Board(
        "scheduler",
        "Elsa: schedules and delays",
        "Are periodic tasks and delayed messages on time?",
        (("Periodic tasks", _periodic()), ("Delayed messages", _delayed())),
    )


def _periodic() -> tuple[Panel, ...]:
    return (
        number(
            "Fired",
            "How many calls were sent in the time shown?",
            "short",
            f"sum(increase({pick('elsa_schedule_fires_total')}[$__range]))",
            width=8,
        ),
        number(
            "Left out",
            "How many fire times were left out, later than their misfire limit, in the time shown?",
            "short",
            f"sum(increase({pick('elsa_schedule_missed_total')}[$__range]))",
            limit=1,
            width=8,
        ),
        number(
            "Due and not sent",
            "How many calls are due and cannot be sent? Their topic is missing or refuses them.",
            "short",
            f"sum({pick('elsa_schedule_due_messages')})",
            limit=1,
            width=8,
        ),
        lines(
            "Fires by task",
            "Does each periodic task run as often as it should?",
            "ops",
            Line(f"sum by (schedule) ({rate('elsa_schedule_fires_total')})", "{{schedule}}"),
        ),
        lines(
            "Delay of a fire",
            "How late are the calls sent?",
            "s",
            Line(quantile(0.99, "elsa_schedule_delay_seconds", "schedule"), "{{schedule}} p99"),
        ),
        lines(
            "Left out and waiting",
            "Which tasks miss their times, or wait to be sent?",
            "short",
            Line(
                f"sum by (schedule) (increase({pick('elsa_schedule_missed_total')}[$__rate_interval]))",
                "{{schedule}} left out",
            ),
            Line(f"sum by (schedule) ({pick('elsa_schedule_due_messages')})", "{{schedule}} waiting"),
        ),
    )


def _delayed() -> tuple[Panel, ...]:
    return (
        lines(
            "Moved",
            "Where do delayed messages go, a second?",
            "ops",
            Line(f"sum by (outcome) ({rate('elsa_delayed_messages_total')})", "{{outcome}}"),
            width=6,
            is_stacked=True,
        ),
        lines(
            "Lateness",
            "How late are delayed messages let go?",
            "s",
            Line(quantile(0.5, "elsa_delayed_lateness_seconds"), "p50"),
            Line(quantile(0.99, "elsa_delayed_lateness_seconds"), "p99"),
            width=6,
        ),
        lines(
            "Due",
            "How many delayed messages are due and not let go yet? Above 0 for long: the mover does not keep up.",
            "short",
            Line(f"sum by (instance) ({pick('elsa_delayed_due_messages')})", "{{instance}}"),
            width=6,
        ),
        lines(
            "Transactions made again",
            "Does Kafka break off the mover's transactions? 0 when it never did.",
            "ops",
            Line(f"sum by (error_type) ({rate('elsa_delayed_aborts_total')}) or vector(0)", "aborted {{error_type}}"),
            width=6,
        ),
    )
