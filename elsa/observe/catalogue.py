"""Every metric once: what it is called, what it means, how several processes' values become one.

`metrics` and `merge` export nothing that is not here; `python -m elsa.observe.catalogue` prints it for
the documentation, dashboards and alerts are built from it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max", "min", "last", "process"]

#: clients and commits: the buckets that OpenTelemetry advises for messaging durations
FAST = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
#: handlers, which may take minutes
RUN = (*FAST, 30.0, 60.0, 300.0)
#: waiting times
WAIT = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
#: from a first send to the end: with retries and delays that may be a day
AGES = (*WAIT, 3600.0, 21600.0)
#: how many messages
SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)

OUTCOMES = (
    "ok",
    "retried",
    "dead",
    "skipped",
    "failed",
    "timeout",
    "abandoned",
    "deferred",
    "continued",
    "moved",
    "halted",
)
DEAD_REASONS = ("exhausted", "decode", "unknown", "rejected", "timeout", "expired", "poison")
PAUSE_REASONS = ("backpressure", "retry", "operator", "halted", "rejected", "restarting", "stopping", "loading")
REBALANCE_EVENTS = ("assigned", "revoked", "lost")
STATES = ("poll", "handler", "backpressure", "commit", "retry_wait", "rebalance", "idle")
RESTARTED = ("partition", "group", "executor")
CONFIRMED = ("ok", "error")
DELAYED_OUTCOMES = ("delivered", "passed_on", "postponed", "cancelled", "undeliverable")
COMMAND_OUTCOMES = ("ok", "refused", "absent", "late", "unreadable")
#: how a group is doing in one partition, as `elsa monitor` grades it
GRADES = ("ok", "warn", "rewind", "stall", "stop")
PROCESS_STATES = ("starting", "running", "stopping")
PROCESS_ENDS = ("exit", "signal", "hung", "recycle")

#: the label value that stands for all values above the limit
OTHER = "_OTHER"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `merge` says how the gauges of several processes become one (counters are summed).

    `process` as merge rule keeps one series per process, with a label `process`. `values` lists the
    values of the labels that have a fixed set; those series exist from the start, at 0.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    meaning: str = ""
    merge: Merge = "sum"
    buckets: tuple[float, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


CATALOGUE: dict[str, Metric] = {}


def _metric(metric: Metric) -> Metric:
    if metric.name in CATALOGUE:
        raise ValueError(f"metric {metric.name} is declared twice")
    CATALOGUE[metric.name] = metric
    return metric


def _counter(name: str, labels: str, text: str, meaning: str = "", **values: tuple[str, ...]) -> Metric:
    return _metric(Metric(name, "counter", tuple(labels.split()), text, meaning, values=values))


def _gauge(
    name: str, labels: str, text: str, meaning: str = "", merge: Merge = "sum", **values: tuple[str, ...]
) -> Metric:
    return _metric(Metric(name, "gauge", tuple(labels.split()), text, meaning, merge, values=values))


def _histogram(name: str, labels: str, buckets: tuple[float, ...], text: str, meaning: str = "") -> Metric:
    return _metric(Metric(name, "histogram", tuple(labels.split()), text, meaning, buckets=buckets))


# publishing
SENT = _counter(
    "elsa_messages_sent_total",
    "topic outcome",
    "Messages the broker confirmed or refused.",
    "Counted when the delivery report comes, not when send is called.",
    outcome=CONFIRMED,
)
SEND_DURATION = _histogram("elsa_send_duration_seconds", "topic", FAST, "Time from send to delivery report.")
SEND_ERRORS = _counter(
    "elsa_send_errors_total",
    "topic error_type",
    "Messages that were not delivered, by Kafka's error name.",
    "At most 50 error names per topic, the rest is _OTHER.",
)
PRODUCER_QUEUE = _gauge(
    "elsa_producer_queue_messages",
    "client",
    "Messages in producers' buffers that are not confirmed yet.",
    "Near the limit: sends wait for room, or raise BufferFull.",
)
PRODUCER_QUEUE_LIMIT = _gauge(
    "elsa_producer_queue_limit_messages", "client", "Messages that the buffers of these producers take."
)

# consuming
RECEIVED = _counter(
    "elsa_messages_received_total", "group topic", "Messages taken from Kafka.", "A redelivered message counts again."
)
RECEIVED_BYTES = _counter("elsa_received_bytes_total", "group topic", "Bytes of keys, values and headers taken.")
FETCHED_BYTES = _counter(
    "elsa_fetched_bytes_total",
    "group",
    "Bytes of messages the Kafka client fetched from brokers.",
    "Divided by elsa_received_bytes_total: how much is fetched more than once. From statistics, every 15 s.",
)
BUFFERED = _gauge(
    "elsa_buffer_messages", "group topic", "Messages fetched and not finished that no handler works on now."
)
BUFFER_LIMIT = _gauge(
    "elsa_buffer_limit_messages",
    "group topic",
    "Messages that the assigned partitions may have fetched and not finished before they are paused.",
    "Large messages pause them earlier, by their bytes.",
)
QUEUE_WAIT = _histogram(
    "elsa_queue_wait_seconds",
    "group topic",
    WAIT,
    "Time from the poll that brought a message to the start of its handler.",
    "Of first attempts. Rising: more comes than handlers can take.",
)
PROCESSED = _counter(
    "elsa_messages_processed_total",
    "group topic handler outcome",
    "Messages by what came of them, one per attempt.",
    "abandoned: the partition was taken away while the handler ran; deferred: finished later by ctx.ack();"
    " continued: done, committed with a later one. moved: tried again later, by a delay topic;"
    " halted: given up, its partition waits for an operator.",
    outcome=OUTCOMES,
)
PROCESS_DURATION = _histogram(
    "elsa_process_duration_seconds",
    "group topic handler",
    RUN,
    "Run time of a handler call (a batch is one call).",
    "In OpenMetrics each bucket has the trace of its latest sampled call as exemplar (`trace_id`).",
)
END_TO_END = _histogram(
    "elsa_end_to_end_latency_seconds",
    "group topic",
    AGES,
    "Age of a message when its handler had succeeded, counted from its first send.",
    "A message that came back through a retry topic counts from its first send, too.",
)
BATCH = _histogram(
    "elsa_batch_messages", "group topic handler", SIZES, "Messages given to one call of a batch handler."
)
IN_PROGRESS = _gauge("elsa_messages_in_progress", "group topic handler", "Messages that handlers work on now.")
EXCEPTIONS = _counter(
    "elsa_handler_exceptions_total",
    "group topic handler error_type",
    "Exceptions raised by handlers, by class.",
    "At most 50 classes per handler, the rest is _OTHER.",
)
EXPIRED = _counter(
    "elsa_messages_expired_total",
    "group topic handler",
    "Messages that were too old to be run.",
    "They are skipped, or dead letters with the reason expired: as the handler's on_expired says.",
)
DEAD_LETTERS = _counter(
    "elsa_dead_letters_total",
    "group topic handler reason",
    "Messages confirmed in the dead-letter topic.",
    "Reasons that handlers give in words are not labels: they stand in the dead letter, here they are _OTHER.",
    reason=DEAD_REASONS,
)

# partitions, from a snapshot at scrape time: a revoked partition has no series
LAG = _gauge(
    "elsa_consumer_lag_messages",
    "group topic partition",
    "Offsets from the committed one to the end of the partition.",
    "An upper bound of messages (compaction and transaction markers leave gaps); absent while an end is unknown.",
    "max",
)
LAG_SECONDS = _gauge(
    "elsa_consumer_lag_seconds",
    "group topic partition",
    "Age of the oldest message that is not finished, 0 when caught up.",
    "When lag is above 0 and nothing is in hand: seconds since that was first seen, or since it last moved; of a"
    " partition that stands still, the age of the message that waits first, read from the log.",
    "max",
)
COMMITTED = _gauge(
    "elsa_consumer_committed_offset", "group topic partition", "The committed offset.", "Absent before a commit.", "max"
)
HIGH_WATERMARK = _gauge(
    "elsa_partition_high_watermark_offset", "group topic partition", "The end of the partition.", "", "max"
)
UNCOMMITTED = _gauge(
    "elsa_uncommitted_messages",
    "group topic partition",
    "Messages finished and not committed yet.",
    "What a crash now would repeat.",
    "max",
)
HEAD_ATTEMPTS = _gauge(
    "elsa_partition_head_attempts",
    "group topic partition",
    "Attempts on the oldest unfinished message.",
    "Rising: a message that never succeeds.",
    "max",
)
TOPIC_LAG = _gauge(
    "elsa_topic_lag_messages",
    "group topic",
    "The lag of all partitions that are assigned here, together.",
    "The same as the sum of elsa_consumer_lag_messages, and there also when partitions have no series of their own.",
)
TOPIC_LAG_SECONDS = _gauge(
    "elsa_topic_lag_seconds", "group topic", "The largest lag in seconds of the partitions assigned here.", "", "max"
)
ASSIGNED = _gauge("elsa_partitions_assigned", "group topic", "Partitions assigned.")
PAUSED = _gauge(
    "elsa_partitions_paused", "group topic reason", "Partitions that take no messages.", reason=PAUSE_REASONS
)

# the group
STABLE = _gauge(
    "elsa_group_stable",
    "group",
    "1 while this member's part in the group is settled, 0 in a rebalance.",
    "From statistics, every 15 s; of several processes the least.",
    "min",
)
SECONDS = _counter(
    "elsa_worker_seconds_total",
    "group state",
    "Where the time of a group goes, as its manager sees it.",
    "poll: taking and handing over messages; handler: waiting while handlers work; backpressure: messages wait for"
    " room; retry_wait: only retries that are not due are in hand; idle: nothing is in hand. The states add up to one"
    " second a second for each process.",
    state=STATES,
)
SLOTS = _gauge(
    "elsa_worker_slots",
    "group handler",
    "Calls of a handler that may run at once.",
    "Of a pool that handlers of a group share (weights): what the others leave of it now.",
)
SLOTS_BUSY = _gauge(
    "elsa_worker_slots_busy", "group handler", "Calls of a handler, or slices of its messages, that run now."
)
LOOP_LAG = _histogram(
    "elsa_event_loop_lag_seconds",
    "",
    FAST,
    "How late the event loop of async handlers comes to what is due.",
    "Looked at twice a second. High: a handler blocks the loop.",
)
REBALANCES = _counter(
    "elsa_rebalances_total", "group event", "Assignment changes this worker took part in.", event=REBALANCE_EVENTS
)
REBALANCE_DURATION = _histogram(
    "elsa_rebalance_duration_seconds", "group", WAIT, "Time from a revoke to the release of its partitions."
)
COMMITS = _counter("elsa_commits_total", "group outcome", "Offset commits.", outcome=CONFIRMED)
COMMIT_DURATION = _histogram("elsa_commit_duration_seconds", "group", FAST, "Time an offset commit took.")
LAST_POLL = _gauge(
    "elsa_last_poll_timestamp_seconds",
    "group",
    "When the group manager last came round.",
    "Of several processes the oldest: subtract it from time() to find one that hangs.",
    "min",
)
LAST_COMMIT = _gauge("elsa_last_commit_timestamp_seconds", "group", "When a commit last succeeded.", "", "max")
RESTARTS = _counter(
    "elsa_restarts_total",
    "group what",
    "Parts of a worker that died and were started again.",
    "what: one partition worker, a whole group manager, or an executor.",
    what=RESTARTED,
)
HALTS = _counter("elsa_partitions_halted_total", "group topic", "Partitions stopped for an operator to look at.")
STALE = _counter(
    "elsa_stale_results_total",
    "group",
    "Results ignored because their partition had been taken away.",
    "Those messages are delivered again to the partition's new owner.",
)
METADATA_CUT = _counter(
    "elsa_commit_metadata_cut_total",
    "group",
    "Partitions whose commit could not say what is finished above its offset.",
    "It did not fit: after a crash now, those messages run again.",
)
METADATA_IGNORED = _counter(
    "elsa_commit_metadata_ignored_total",
    "group",
    "Assigned partitions whose commit metadata could not be read.",
    "Written by another program or version, or damaged: what it said of finished messages is not used.",
)
CLIENT_ERRORS = _counter(
    "elsa_kafka_client_errors_total",
    "group error_type",
    "Errors that the Kafka client has reported, refused commits and aborted transactions too, by Kafka's error name.",
    "At most 50 names per group, the rest is _OTHER.",
)
THROTTLE = _gauge(
    "elsa_kafka_broker_throttle_seconds",
    "client broker",
    "How long a broker holds this client back because of a quota, by its last answer.",
    "client: consumer or producer. 0 when it is over, or when nothing was heard for a minute.",
    "max",
)
BROKER_RTT = _gauge(
    "elsa_kafka_broker_rtt_seconds",
    "client broker stat",
    "Time from a request to a broker to its answer, over the last 15 s.",
    "A consumer's fetches wait at the broker for messages. Absent when nothing was asked.",
    "max",
    stat=("avg", "p99"),
)
BROKER_ERRORS = _counter(
    "elsa_kafka_broker_errors_total",
    "client broker direction",
    "Requests to a broker that could not be sent, and answers that could not be read.",
    "From statistics, every 15 s.",
    direction=("sent", "received"),
)
BROKER_CONNECTS = _counter(
    "elsa_kafka_broker_connects_total",
    "client broker",
    "Connections to a broker, failed ones included.",
    "Rising: connections break. From statistics, every 15 s.",
)
OBSERVER_ERRORS = _counter("elsa_observer_errors_total", "observer", "Exceptions raised by observers.")

# delayed messages
DELAYED = _counter(
    "elsa_delayed_messages_total",
    "outcome",
    "Delayed messages that this process has moved, by where they went.",
    "passed_on: to a shorter delay topic; postponed: its target did not take it, it is tried again; undeliverable: kept"
    " in {app}.delay.dlq.",
    outcome=DELAYED_OUTCOMES,
)
DELAYED_DUE = _gauge(
    "elsa_delayed_due_messages",
    "",
    "Delayed messages that are due and not let go yet.",
    "Of those that are in memory, at most 2,000 of each partition; above 0 for long: the mover does not keep up.",
)
DELAYED_LATENESS = _histogram(
    "elsa_delayed_lateness_seconds", "", WAIT, "Time from the due moment of a delayed message to its delivery."
)
DELAYED_ABORTS = _counter(
    "elsa_delayed_aborts_total",
    "error_type",
    "Transactions of the mover that were aborted and made again, by Kafka's error name.",
    "At most 50 names, the rest is _OTHER.",
)

# periodic tasks, by whoever fires them
SCHEDULE_FIRES = _counter(
    "elsa_schedule_fires_total", "schedule", "Calls of a periodic task that were sent and confirmed."
)
SCHEDULE_MISSED = _counter(
    "elsa_schedule_missed_total",
    "schedule",
    "Fire times of a periodic task that were left out, later than its misfire limit.",
    "Of one outage at most 1,000 are counted.",
)
SCHEDULE_DELAY = _histogram(
    "elsa_schedule_delay_seconds", "schedule", WAIT, "Time from a fire time to the confirmation of its call."
)
SCHEDULE_DUE = _gauge(
    "elsa_schedule_due_messages",
    "schedule",
    "Calls of a periodic task that are due and cannot be sent.",
    "Its topic is missing, or refuses them.",
)

COMMANDS = _counter(
    "elsa_commands_total",
    "outcome",
    "Commands of `elsa inspect` and `elsa control` that a worker process has read.",
    "absent: nothing of what was named is here; late: read after its time; unreadable: no command of this version.",
    outcome=COMMAND_OUTCOMES,
)

# the supervisor
PROCESSES = _gauge("elsa_worker_processes", "state", "Worker processes.", state=PROCESS_STATES)
PROCESS_RESTARTS = _counter(
    "elsa_worker_restarts_total", "reason", "Worker processes replaced, by how they ended.", reason=PROCESS_ENDS
)
STALE_PROCESSES = _gauge(
    "elsa_scrape_stale_processes",
    "",
    "Worker processes that did not answer this scrape within 0.3 s: their last values are shown.",
)

# groups from outside, by `elsa monitor`: there also while all workers are dead
GROUP_LAG = _gauge(
    "elsa_group_lag_messages",
    "group topic partition",
    "Offsets from the group's committed one to the end of the partition, as the broker tells it.",
    "An upper bound of messages (compaction and transaction markers leave gaps), 0 where none is left up to the end."
    " Nothing committed: the whole log.",
    "max",
)
GROUP_LAG_SECONDS = _gauge(
    "elsa_group_lag_seconds",
    "group topic partition",
    "Age of the first message that the group has not committed, 0 when there is none.",
    "From the message's own timestamp; absent while it could not be read.",
    "max",
)
GROUP_COMMITTED = _gauge(
    "elsa_group_committed_offset", "group topic partition", "The committed offset.", "Absent before a commit.", "max"
)
GROUP_END = _gauge(
    "elsa_group_end_offset",
    "group topic partition",
    "The end of the partition for a reader of committed messages.",
    "Its rate is the rate at which messages come in.",
    "max",
)
GROUP_MEMBERS = _gauge(
    "elsa_group_members", "group", "Members of the group by its coordinator.", "0: nobody consumes.", "max"
)
GROUP_INFO = _gauge(
    "elsa_group_info",
    "group state",
    "Always 1; the label is the group's state (stable, empty, preparing_rebalancing, ...).",
    "",
    "max",
)
GROUP_STATUS = _gauge(
    "elsa_group_partition_status",
    "group topic partition status",
    "1 for the grade of the group in this partition, 0 for the others.",
    "Over a window in which messages waited all the time. rewind: its offset went back; stop: nobody has the partition"
    " and nothing moves; stall: somebody has it and nothing moves; warn: it moves and the lag only grows.",
    "max",
    status=GRADES,
)
MONITOR_UP = _gauge(
    "elsa_monitor_up",
    "",
    "1 when the last look at the cluster succeeded, 0 when it failed.",
    "While it fails, what was seen last is shown for a minute (or three intervals), then its series vanish.",
    "min",
)
MONITOR_LAST_SUCCESS = _gauge(
    "elsa_monitor_last_success_timestamp_seconds", "", "When a look at the cluster last succeeded.", "", "max"
)
MONITOR_DURATION = _gauge(
    "elsa_monitor_look_duration_seconds", "", "How long the last look at the cluster took.", "", "max"
)
MONITOR_ERRORS = _counter(
    "elsa_monitor_errors_total",
    "error_type",
    "Questions of `elsa monitor` that the cluster did not answer, by Kafka's error name.",
    "At most 50 names, the rest is _OTHER. Those of one group leave only its series out.",
)

#: those that no worker exports
OF_MONITOR = (
    GROUP_LAG,
    GROUP_LAG_SECONDS,
    GROUP_COMMITTED,
    GROUP_END,
    GROUP_MEMBERS,
    GROUP_INFO,
    GROUP_STATUS,
    MONITOR_UP,
    MONITOR_LAST_SUCCESS,
    MONITOR_DURATION,
    MONITOR_ERRORS,
)

BUILD_INFO = _gauge(
    "elsa_build_info", "version python confluent_kafka librdkafka", "Always 1; the labels are the versions.", "", "max"
)


if __name__ == "__main__":
    from elsa.observe.reference import page

    sys.stdout.write(page())
