"""The runtime: where the time goes, how the group and its commits do, what the processes and the Kafka client need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.board import Board
from dashboards.panels import Line, lines
from dashboards.query import pick, quantile, rate

if TYPE_CHECKING:
    from dashboards.panels import Panel
    from dashboards.thresholds import Thresholds


def runtime(limits: Thresholds) -> Board:
    """The board for whoever operates the workers."""
    return Board(
        "runtime",
        "Elsa: runtime",
        "Where does the time go, and are the group, the processes and the Kafka client well?",
        (
            ("Time", _time(limits)),
            ("Group", _group()),
            ("Processes", _processes()),
            ("Kafka client", _client(limits)),
            ("What should not happen", _odd()),
        ),
    )


def _time(limits: Thresholds) -> tuple[Panel, ...]:
    return (
        lines(
            "Where the time goes",
            "Do the workers wait for messages, for handlers, or for Kafka? The states of one process add up to 1.",
            "short",
            Line(f"sum by (state) ({rate('elsa_worker_seconds_total')})", "{{state}}"),
            width=12,
            is_stacked=True,
        ),
        lines(
            "Last look at Kafka",
            "Does a group manager hang? The age of its last round.",
            "s",
            Line(
                # a scrape takes a moment in which the manager may come round
                f"clamp_min(time() - min by (instance, group) ({pick('elsa_last_poll_timestamp_seconds')}), 0)",
                "{{group}} {{instance}}",
            ),
            width=6,
            limit=limits.poll_seconds,
        ),
        lines(
            "Event loop",
            "Does an async handler block the loop? How late it comes to what is due.",
            "s",
            Line(quantile(0.99, "elsa_event_loop_lag_seconds", "instance"), "{{instance}} p99"),
            width=6,
        ),
    )


def _group() -> tuple[Panel, ...]:
    return (
        lines(
            "Rebalances",
            "How often do partitions move?",
            "short",
            Line(
                f"sum by (group, event) (increase({pick('elsa_rebalances_total')}[$__rate_interval]))",
                "{{group}} {{event}}",
            ),
            width=6,
        ),
        lines(
            "Time to give partitions up",
            "How long does a revoke take until what runs is finished and committed?",
            "s",
            Line(quantile(0.99, "elsa_rebalance_duration_seconds", "group"), "{{group}} p99"),
            width=6,
        ),
        lines(
            "Settled",
            "Is every member's part in the group settled? 0: in a rebalance.",
            "short",
            Line(f"min by (group) ({pick('elsa_group_stable')})", "{{group}}"),
            width=6,
            ceiling=1,
        ),
        lines(
            "Partitions by worker",
            "Is the work shared out evenly?",
            "short",
            Line(f"sum by (instance) ({pick('elsa_partitions_assigned')})", "{{instance}}"),
            width=6,
            is_stacked=True,
        ),
        lines(
            "Time of a commit",
            "How fast does Kafka take commits?",
            "s",
            Line(quantile(0.99, "elsa_commit_duration_seconds", "group"), "{{group}} p99"),
            width=6,
        ),
        lines(
            "Commits",
            "How often is committed, and is any commit refused?",
            "ops",
            Line(f"sum by (group, outcome) ({rate('elsa_commits_total')})", "{{group}} {{outcome}}"),
            width=6,
        ),
        lines(
            "Buffers",
            "How full are the buffers? At 1 a partition is paused until handlers have caught up.",
            "percentunit",
            Line(
                f"sum by (group, topic) ({pick('elsa_buffer_messages')})"
                f" / (sum by (group, topic) ({pick('elsa_buffer_limit_messages')}) > 0)",
                "{{group}} {{topic}}",
            ),
            width=6,
        ),
        lines(
            "Paused by reason",
            "Why do partitions take no messages?",
            "short",
            Line(f"sum by (reason) ({pick('elsa_partitions_paused')})", "{{reason}}"),
            width=6,
            is_stacked=True,
        ),
    )


def _processes() -> tuple[Panel, ...]:
    return (
        lines(
            "Restarts",
            "Do processes, or parts of them, die and come again? Are there any that do not answer a scrape?",
            "short",
            Line(
                f"sum by (instance, reason) (increase({pick('elsa_worker_restarts_total')}[$__rate_interval]))",
                "{{instance}} {{reason}}",
            ),
            Line(
                f"sum by (group, what) (increase({pick('elsa_restarts_total')}[$__rate_interval]))",
                "{{group}} {{what}}",
            ),
            Line(f"sum by (instance) ({pick('elsa_scrape_stale_processes')})", "{{instance}} silent"),
            width=6,
        ),
        lines(
            "Processor",
            "How many cores does a worker use?",
            "short",
            Line(f"sum by (instance) ({rate('process_cpu_seconds_total')})", "{{instance}}"),
            width=6,
            is_stacked=True,
        ),
        lines(
            "Memory",
            "How much memory does each process hold?",
            "bytes",
            Line(f"max by (instance, process) ({pick('process_resident_memory_bytes')})", "{{instance}} {{process}}"),
            width=6,
        ),
        lines(
            "Garbage collections",
            "How often does Python collect, by generation?",
            "ops",
            Line(f"sum by (generation) ({rate('python_gc_collections_total')})", "generation {{generation}}"),
            width=6,
        ),
    )


def _client(limits: Thresholds) -> tuple[Panel, ...]:
    queue = (
        f"max by (instance, client) ({pick('elsa_producer_queue_messages')})"
        f" / max by (instance, client) ({pick('elsa_producer_queue_limit_messages')})"
    )
    return (
        lines(
            "Producer's queue",
            "How full is the producer's buffer? At 1 sends have to wait.",
            "percentunit",
            Line(queue, "{{instance}} {{client}}"),
            limit=limits.producer_ratio,
        ),
        lines(
            "Time of a send",
            "How long does a send take until Kafka has confirmed it?",
            "s",
            Line(quantile(0.99, "elsa_send_duration_seconds", "topic"), "{{topic}} p99"),
        ),
        lines(
            "Answers of brokers",
            "How long do brokers take to answer?",
            "s",
            Line(
                f"max by (client, broker) ({pick('elsa_kafka_broker_rtt_seconds', stat='p99')})",
                "{{client}} {{broker}} p99",
            ),
        ),
        lines(
            "Held back by quotas",
            "Does a broker make clients wait because of a quota? 0 when none ever did.",
            "s",
            Line(
                f"max by (client, broker) ({pick('elsa_kafka_broker_throttle_seconds')}) or vector(0)",
                "{{client}} {{broker}}",
            ),
        ),
        lines(
            "Requests that failed, connections",
            "Do connections to brokers break?",
            "ops",
            Line(f"sum by (broker) ({rate('elsa_kafka_broker_errors_total')})", "{{broker}} errors"),
            Line(f"sum by (broker) ({rate('elsa_kafka_broker_connects_total')})", "{{broker}} connects"),
        ),
        lines(
            "Errors of the client",
            "What does the Kafka client complain about? 0 when there was nothing yet.",
            "ops",
            Line(
                f"sum by (error_type) ({rate('elsa_kafka_client_errors_total')}) or vector(0)", "client {{error_type}}"
            ),
            Line(f"sum by (error_type) ({rate('elsa_send_errors_total')}) or vector(0)", "send {{error_type}}"),
        ),
    )


def _odd() -> tuple[Panel, ...]:
    def grown(name: str, by: str) -> str:
        return f"sum by ({by}) (increase({pick(name)}[$__rate_interval]))"

    return (
        lines(
            "Partitions given up, results ignored",
            "Does a partition wait for an operator, or was work done for a partition that had gone?",
            "short",
            Line(f"{grown('elsa_partitions_halted_total', 'group, topic')} or vector(0)", "{{group}} {{topic}} halted"),
            Line(grown("elsa_stale_results_total", "group"), "{{group}} ignored"),
        ),
        lines(
            "Commit metadata",
            "Would more run again after a crash than has to? What is finished above the offset did not fit, or was not"
            " understood.",
            "short",
            Line(grown("elsa_commit_metadata_cut_total", "group"), "{{group}} cut"),
            Line(grown("elsa_commit_metadata_ignored_total", "group"), "{{group}} ignored"),
        ),
        lines(
            "Who watches",
            "Is what comes from outside fresh? How old elsa monitor's last look at Kafka is, and how long it took.",
            "s",
            Line(
                f"clamp_min(time() - max by (instance) ({pick('elsa_monitor_last_success_timestamp_seconds')}), 0)",
                "{{instance}} looked",
            ),
            Line(f"max by (instance) ({pick('elsa_monitor_look_duration_seconds')})", "{{instance}} took"),
        ),
    )
