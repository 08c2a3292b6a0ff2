"""The handlers: how long they run, how long messages wait for them, what comes of it, what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.board import Board
from dashboards.panels import Column, Line, heatmap, lines, table
from dashboards.query import pick, quantile, rate

if TYPE_CHECKING:
    from dashboards.panels import Panel
    from dashboards.thresholds import Thresholds

RUN = "elsa_process_duration_seconds"


def handlers(limits: Thresholds) -> Board:
    """The board for whoever wrote a handler."""
    return Board(
        "handlers",
        "Elsa: handlers",
        "How long do handlers run, how long do messages wait for them, and what comes of it?",
        (
            ("Run time", _run_time()),
            ("Waiting", _waiting()),
            ("Outcomes", _outcomes(limits)),
        ),
    )


def _run_time() -> tuple[Panel, ...]:
    return (
        lines(
            "Run time",
            "How long does a call take: usually, often, at worst? Points with a trace lead to it.",
            "s",
            *(
                Line(quantile(share, RUN, "handler"), f"{{{{handler}}}} p{share * 100:g}")
                for share in (0.5, 0.95, 0.99)
            ),
            width=12,
            exemplars=True,
        ),
        heatmap(
            "Spread of run times",
            "Is there one kind of call, or several: quick ones and slow ones?",
            "s",
            f"sum by (le) ({rate(RUN, '_bucket')})",
        ),
        lines(
            "Handlers at work",
            "How many calls run at once, on average? The seconds spent in a handler, a second.",
            "short",
            Line(f"sum by (handler) ({rate(RUN, '_sum')})", "{{handler}}"),
            is_stacked=True,
        ),
        lines(
            "In progress",
            "How many messages are in handlers' hands at this moment?",
            "short",
            Line(f"sum by (handler) ({pick('elsa_messages_in_progress')})", "{{handler}}"),
            is_stacked=True,
        ),
        lines(
            "Batch size",
            "How large are the batches of batch handlers, on average and the largest twentieth?",
            "short",
            Line(
                f"sum by (handler) ({rate('elsa_batch_messages', '_sum')})"
                f" / sum by (handler) ({rate('elsa_batch_messages', '_count')})",
                "{{handler}} mean",
            ),
            Line(quantile(0.95, "elsa_batch_messages", "handler"), "{{handler}} p95"),
        ),
    )


def _waiting() -> tuple[Panel, ...]:
    return (
        lines(
            "Wait for a handler",
            "How long do messages lie in the worker before their handler starts? The first sign of too few workers.",
            "s",
            Line(quantile(0.95, "elsa_queue_wait_seconds", "group, topic"), "{{group}} {{topic}} p95"),
            width=12,
        ),
        lines(
            "From send to success",
            "How old is a message when it is done, retries and delays included?",
            "s",
            Line(quantile(0.95, "elsa_end_to_end_latency_seconds", "group, topic"), "{{group}} {{topic}} p95"),
            width=12,
        ),
    )


def _outcomes(limits: Thresholds) -> tuple[Panel, ...]:
    exceptions = f"increase({pick('elsa_handler_exceptions_total')}[$__range])"
    return (
        lines(
            "Outcomes",
            "What comes of the attempts, a second?",
            "ops",
            Line(f"sum by (outcome) ({rate('elsa_messages_processed_total')}) > 0", "{{outcome}}"),
            is_stacked=True,
        ),
        lines(
            "Dead letters by reason",
            "Why are messages given up?",
            "ops",
            Line(f"sum by (topic, reason) ({rate('elsa_dead_letters_total')}) > 0", "{{topic}} {{reason}}"),
            is_stacked=True,
        ),
        lines(
            "Attempts on the head",
            "Is there a message that never succeeds and holds up its partition?",
            "short",
            Line(
                f"max by (group, topic) ({pick('elsa_partition_head_attempts')})",
                "{{group}} {{topic}}",
            ),
            limit=limits.head_attempts,
        ),
        table(
            "Exceptions",
            "Which exceptions do handlers raise, and how often in the time shown?",
            Column("Count", f"sort_desc(sum by (group, handler, error_type) ({exceptions}) > 0)"),
            width=16,
            height=8,
        ),
        lines(
            "Too old to run",
            "How many messages expire before a handler gets to them?",
            "ops",
            Line(f"sum by (handler) ({rate('elsa_messages_expired_total')})", "{{handler}}"),
        ),
    )
