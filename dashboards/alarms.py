"""The twelve alerts: what is wrong, for how long, how bad, and where to read on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dashboards.query import bare
from dashboards.rules import BUSY_RATIO, FAILED_RATIO, LAG_AGE, LAG_SUM, RATIO_WINDOW

if TYPE_CHECKING:
    from dashboards.thresholds import Thresholds

MINUTES = 60.0
PARTITION = "group, topic, partition"


@dataclass(frozen=True, slots=True)
class Places:
    """Where people find what alerts lead to: `runbooks` holds NAME.md, `grafana` has the boards."""

    runbooks: str = "dashboards/runbooks"
    grafana: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert; `hold` is for how many seconds it has to be true, `board` the one that shows more."""

    name: str
    expression: str
    hold: float
    severity: str
    summary: str
    description: str
    board: str
    #: labels that the board is narrowed to
    narrow: tuple[str, ...] = ("group",)

    def rule(self, limits: Thresholds, places: Places) -> dict[str, Any]:
        """The rule as Prometheus loads it."""
        chosen = "&".join(f"var-{label}={{{{ $labels.{label} }}}}" for label in self.narrow)
        query = f"?{chosen}" if chosen else ""
        rule: dict[str, Any] = {"alert": self.name, "expr": self.expression}
        if self.hold:
            rule["for"] = limits.window(self.hold)
        return rule | {
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "dashboard_url": f"{places.grafana.rstrip('/')}/d/elsa-{self.board}{query}",
                "runbook_url": f"{places.runbooks.rstrip('/')}/{self.name}.md",
            },
        }


def alerts(limits: Thresholds) -> list[Alert]:
    """All of them; "critical" wants somebody now, "warning" within the day."""
    return [*_lag(limits), *_failures(limits), *_workers(limits), *_clients(limits)]


def _lag(limits: Thresholds) -> list[Alert]:
    stalled = limits.window(limits.stalled_seconds)
    trend = limits.window(15 * MINUTES)
    return [
        Alert(
            "ElsaLagTooOld",
            f"{LAG_AGE} > {limits.lag_age_seconds:g}",
            5 * MINUTES,
            "critical",
            "{{ $labels.group }} is late on {{ $labels.topic }}",
            "The oldest message that {{ $labels.group }} has not finished on {{ $labels.topic }} is"
            " {{ $value | humanizeDuration }} old.",
            "topics",
            ("group", "topic"),
        ),
        Alert(
            "ElsaLagGrowing",
            f"{LAG_SUM} > {limits.growing_messages:g}\nand deriv({LAG_SUM}[{trend}]) > 0",
            15 * MINUTES,
            "warning",
            "{{ $labels.group }} does not keep up on {{ $labels.topic }}",
            '{{ $value | printf "%.0f" }} messages wait, and there are more and more of them.',
            "topics",
            ("group", "topic"),
        ),
        Alert(
            "ElsaPartitionStalled",
            f"max by ({PARTITION}) (min_over_time({bare('elsa_consumer_lag_messages')}[{stalled}])) > 0\n"
            f"unless max by ({PARTITION}) (changes({bare('elsa_consumer_committed_offset')}[{stalled}])) > 0",
            5 * MINUTES,
            "critical",
            "Partition {{ $labels.partition }} of {{ $labels.topic }} stands still",
            '{{ $value | printf "%.0f" }} messages or more wait in partition {{ $labels.partition }} of'
            " {{ $labels.topic }}, and {{ $labels.group }} commits nothing there.",
            "topics",
            ("group", "topic"),
        ),
        Alert(
            "ElsaGroupHasNoWorkers",
            f"sum by (group) (max by ({PARTITION}) ({bare('elsa_group_lag_messages')})) > 0\n"
            f"and on (group) max by (group) ({bare('elsa_group_members')}) == 0",
            5 * MINUTES,
            "critical",
            "{{ $labels.group }} has no workers",
            '{{ $value | printf "%.0f" }} messages wait for {{ $labels.group }}, and nobody is a member of it.',
            "overview",
        ),
    ]


def _failures(limits: Thresholds) -> list[Alert]:
    window = limits.window(RATIO_WINDOW)
    volume = f"sum by (group, topic, handler) (increase({bare('elsa_messages_processed_total')}[{window}]))"
    return [
        Alert(
            "ElsaHandlerErrorRatio",
            f"{FAILED_RATIO} > {limits.error_ratio:g}\nand {volume} > {limits.error_messages:g}",
            5 * MINUTES,
            "warning",
            "{{ $labels.handler }} fails too often",
            "{{ $value | humanizePercentage }} of what {{ $labels.handler }} takes from {{ $labels.topic }} fails.",
            "handlers",
            ("group", "topic", "handler"),
        ),
        Alert(
            "ElsaDeadLetters",
            f"sum by (group, topic) (increase({bare('elsa_dead_letters_total')}[{window}])) > 0",
            0,
            "warning",
            "{{ $labels.group }} gives up messages of {{ $labels.topic }}",
            f'About {{{{ $value | printf "%.0f" }}}} messages became dead letters in {window}.',
            "handlers",
            ("group", "topic"),
        ),
        Alert(
            "ElsaPoisonMessage",
            f"max by ({PARTITION}) ({bare('elsa_partition_head_attempts')}) >= {limits.head_attempts:g}",
            5 * MINUTES,
            "warning",
            "One message holds up partition {{ $labels.partition }} of {{ $labels.topic }}",
            'It was tried {{ $value | printf "%.0f" }} times by {{ $labels.group }}, and nothing passes it.',
            "topics",
            ("group", "topic"),
        ),
    ]


def _workers(limits: Thresholds) -> list[Alert]:
    moved = limits.window(limits.rebalance_seconds)
    # several processes of a worker share one scrape: each of them takes part in a rebalance
    processes = (
        f"sum by (group) (0 * max by (job, instance, group) ({bare('elsa_last_poll_timestamp_seconds')})\n"
        f"  + on (job, instance) group_left () sum by (job, instance)"
        f" ({bare('elsa_worker_processes', state='running')}))"
    )
    # which topics a handler has is told by what counts its messages
    age = (
        f"max by (group, handler) (0 * max by (group, topic, handler) ({bare('elsa_messages_in_progress')})\n"
        f"  + on (group, topic) group_left () {LAG_AGE})"
    )
    return [
        Alert(
            "ElsaPollStalled",
            f"time() - min by (job, instance, group) ({bare('elsa_last_poll_timestamp_seconds')})"
            f" > {limits.poll_seconds:g}",
            2 * MINUTES,
            "critical",
            "{{ $labels.group }} hangs on {{ $labels.instance }}",
            "A group manager has not come round for {{ $value | humanizeDuration }}; Kafka will take its partitions.",
            "runtime",
        ),
        Alert(
            "ElsaRebalanceStorm",
            f"sum by (group) (increase({bare('elsa_rebalances_total', event='revoked|lost')}[{moved}]))\n"
            f"> {limits.rebalances_per_process:g} * {processes}",
            5 * MINUTES,
            "warning",
            "{{ $labels.group }} does not settle",
            f'Partitions were taken away {{{{ $value | printf "%.0f" }}}} times in {moved}.',
            "runtime",
        ),
        Alert(
            "ElsaWorkersSaturated",
            f"{BUSY_RATIO} > {limits.busy_ratio:g}\nand {age} > {limits.busy_age_seconds:g}",
            15 * MINUTES,
            "warning",
            "{{ $labels.handler }} has no free slot",
            "{{ $value | humanizePercentage }} of its slots are busy in {{ $labels.group }} while its messages wait.",
            "handlers",
            ("group", "handler"),
        ),
    ]


def _clients(limits: Thresholds) -> list[Alert]:
    return [
        Alert(
            "ElsaProducerBackpressure",
            f"max by (job, instance, client) ({bare('elsa_producer_queue_messages')}\n"
            f"/ {bare('elsa_producer_queue_limit_messages')}) > {limits.producer_ratio:g}",
            5 * MINUTES,
            "warning",
            "{{ $labels.instance }} cannot send fast enough",
            "The queue of the {{ $labels.client }} is {{ $value | humanizePercentage }} full; sends have to wait.",
            "runtime",
            (),
        ),
        Alert(
            "ElsaCommitErrors",
            f"sum by (group) (rate({bare('elsa_commits_total', outcome='error')}[{limits.window(5 * MINUTES)}])) > 0",
            10 * MINUTES,
            "warning",
            "Kafka refuses commits of {{ $labels.group }}",
            '{{ $value | printf "%.2f" }} commits a second are refused; a crash repeats what was not committed.',
            "runtime",
        ),
    ]
