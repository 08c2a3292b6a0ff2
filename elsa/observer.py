"""The one seam between the engine and everything that watches it (metrics, tracing, logs, users).

The engine calls an Observer with facts, a slice at a time; an observer can not change an outcome (that
is middleware) and must not block. Every method is a no-op here, so an observer implements what it needs;
`elsa.observe` has the ones that ship. Calls come from several threads at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from elsa.message import Message, TopicPartition


class Span(Protocol):
    """A running process span."""

    def outcome(self, name: str, error: BaseException | None = None) -> None:
        """Say what the call came to, before the span ends."""
        ...


@runtime_checkable
class LastingSpan(Span, Protocol):
    """One that may outlive its call: what the call has sent and not waited for belongs to it until it is confirmed."""

    def keep(self) -> None:
        """End by `end`, not when the call is left."""
        ...

    def end(self) -> None:
        """What the call has sent is confirmed, or refused (`outcome` was told anew); for a batch more than once."""
        ...


@dataclass(frozen=True, slots=True)
class PartitionSnapshot:
    """One assigned partition at one moment; offsets are -1 when unknown.

    `position` is the end of the contiguous finished prefix, `in_progress` counts what was handed to the
    partition worker and is unfinished, `buffered` what was received and not handed over yet. `end` is the offset
    behind the last message that can be read: below the `high_watermark` while a transaction is open.
    """

    group: str | None
    topic: str
    partition: int
    handler: str
    committed: int
    position: int
    high_watermark: int
    low_watermark: int
    in_progress: int
    buffered: int
    uncommitted: int
    head_attempts: int
    #: wall-clock seconds of the oldest unfinished message's timestamp, None when it is not known
    oldest_timestamp: float | None
    #: why intake is paused: backpressure, retry, operator, halted, rejected, restarting, stopping; None when it flows
    paused: str | None
    end: int = -1
    #: how many messages may be in hand before it is paused, and how many calls (or slices of messages) run now
    limit: int = 0
    running: int = 0
    #: being given up: drained for somebody else, or lost to them already
    is_leaving: bool = False


class HandlerObserver:
    """What is told about one handler on one topic; made once per (group, topic, handler), never per message.

    Of a topic with tasks each task has one, and so has the topic, named "tasks of <topic>": it hears `received`,
    `waited` and `aged` of all of them, and what becomes of messages that name no task of the topic.
    """

    def received(self, messages: int, size: int) -> None:
        """`messages` of together `size` bytes were taken from Kafka for this handler."""

    def started(self, messages: int) -> None:
        """`messages` begin to run (a slice, not each one)."""

    def ended(self, messages: int) -> None:
        """Of `messages` that were told to `started`, none runs any more (finished, given back or abandoned)."""

    def finished(self, durations: Sequence[float], outcomes: Mapping[str, int]) -> None:
        """A slice ended: seconds of each call, and how many came to which outcome.

        Outcomes: ok, retried, dead, skipped, failed, timeout, abandoned, deferred, continued.
        """

    def sampled(self, seconds: float, trace: str) -> None:
        """One of those calls took so long in a span that is recorded and sampled: of this trace (32 hex digits).

        Told as soon as the call has ended, before the `finished` of its slice.
        """

    def waited(self, waits: Sequence[tuple[float, int]]) -> None:
        """A slice began to run: so many seconds after they came from Kafka, so many messages; first attempts alone."""

    def aged(self, ages: Sequence[tuple[float, int]]) -> None:
        """A slice succeeded: so many seconds after they were first sent, so many messages."""

    def batched(self, messages: int) -> None:
        """One call of a batch handler got so many messages."""

    def exception(self, error: BaseException, attempt: int) -> None:
        """One call raised `error` at its `attempt`-th attempt (1 is the first)."""

    def expired(self, messages: int) -> None:
        """So many messages were too old to be run; they were skipped, or go to the dead letters."""

    def dead_letter(self, reason: str) -> None:
        """One message was confirmed in the dead-letter topic.

        Reasons: exhausted, decode, unknown, rejected, timeout, expired.
        """

    #: None unless a tracer provider is set (the engine looks once per slice): then
    #: `with span(messages, attempt) as s:` encloses each call, in the thread or task that runs the handler
    span: Callable[[Sequence[Message], int], AbstractContextManager[Span]] | None = None


class GroupObserver:
    """What is told about one consumer group in this process."""

    def assigned(self, partitions: Sequence[tuple[str, int]]) -> None: ...

    def revoked(self, partitions: Sequence[tuple[str, int]], seconds: float) -> None: ...

    def lost(self, partitions: Sequence[tuple[str, int]]) -> None: ...

    def committed(self, outcome: str, seconds: float, offsets: Mapping[TopicPartition, int]) -> None:
        """A commit ended; `outcome` is ok or error."""

    def metadata_cut(self, partitions: int) -> None:
        """A commit could not say of so many partitions what is finished above their offsets: it did not fit."""

    def metadata_ignored(self, partitions: int) -> None:
        """So many assigned partitions had commit metadata that this version cannot read."""

    def polled(self, now: float) -> None:
        """The group manager came round (about ten times a second at most)."""

    def spent(self, seconds: Mapping[str, float]) -> None:
        """The group manager has spent its time so: poll, handler, backpressure, commit, retry_wait, rebalance, idle."""

    def slots(self, pools: Mapping[str, Mapping[str, int]]) -> None:
        """By handler of the group: the pools that it runs in, and how many calls each may run at once.

        A pool that several handlers name is the same one: they share its places.
        """

    def restarted(self, what: str, reason: str) -> None:
        """`what` is partition, group or executor."""

    def stale(self, results: int) -> None:
        """Results of an older epoch were ignored."""

    def halted(self, partition: tuple[str, int], reason: str) -> None: ...

    def error(self, code: str, text: str) -> None:
        """The Kafka client reported an error event."""

    def fetched(self, messages: Sequence[Any], seconds: float) -> None:
        """A poll brought these (as the client gives them out) and took so long; told only to who implements it."""

    def statistics(self, stats: Mapping[str, Any]) -> None:
        """librdkafka's statistics, decoded, every 15 s."""


class MoverObserver:
    """What is told about the mover of delayed messages in this process; its group has a GroupObserver as well."""

    def moved(self, outcomes: Mapping[str, int], delays: Sequence[float]) -> None:
        """A transaction is committed: how many messages came to what, and how late those were that arrived, seconds.

        Outcomes: delivered, passed_on (to a shorter wait), postponed (its target did not take it), cancelled,
        undeliverable.
        """

    def due(self, messages: int) -> None:
        """So many messages that are known here are due and not let go yet (about ten times a second)."""

    def aborted(self, code: str) -> None:
        """A transaction was aborted, or not begun, by Kafka's name of the error: it is made again."""


class ScheduleObserver:
    """What is told about one periodic task, by the process that fires it."""

    def fired(self, delays: Sequence[float]) -> None:
        """Calls were sent and confirmed, so many seconds after their fire times."""

    def missed(self, fires: int) -> None:
        """So many fire times were left out, because they were later than the misfire limit."""

    def held(self, fires: int) -> None:
        """So many calls are due and cannot be sent: their topic is missing, or refuses them; 0 when that is over."""


class Observer:
    """Everything that can be told; subclass it and override what you need."""

    def handler(self, group: str | None, topic: str, handler: str) -> HandlerObserver:
        """The observer of one handler on one topic (`topic` is the pattern for a regex subscription)."""
        return HandlerObserver()

    def group(self, group: str | None) -> GroupObserver:
        return GroupObserver()

    def mover(self) -> MoverObserver:
        """The observer of the mover of delayed messages; asked for once."""
        return MoverObserver()

    def sent(self, topic: str, outcome: str, seconds: float, error: str | None) -> None:
        """A delivery report came: outcome ok or error (then `error` is Kafka's error name)."""

    def throttled(self, client: str, broker: str, seconds: float) -> None:
        """A quota of the brokers: broker (its id) holds this client (consumer, producer) back, 0 when that is over."""

    def statistics(self, client: str, stats: Mapping[str, Any]) -> None:
        """librdkafka's statistics of a client that is no group's (producer), decoded, every 15 s."""

    def loop_lagged(self, seconds: float) -> None:
        """The event loop of async handlers came so late to what was due; looked at twice a second."""

    def watch_queue(self, client: str, read: Callable[[], tuple[int, int]]) -> None:
        """`read()` gives how many messages a client (producer) holds unconfirmed, and how many it takes at most.

        It is called from the scraping thread.
        """

    #: None unless a tracer provider is set: `headers, end = trace_send(topic, headers)` takes pairs and returns
    #: a new list of pairs; the producer calls
    #: `end(metadata_or_None, error_or_None)` from the delivery report
    trace_send: Callable[..., Any] | None = None

    def schedule(self, name: str) -> ScheduleObserver:
        """The observer of one periodic task; asked for once, where there are any."""
        return ScheduleObserver()

    def watch(self, snapshot: Callable[[], Sequence[PartitionSnapshot]]) -> None:
        """`snapshot()` gives a `PartitionSnapshot` of every assigned partition; called when scraped.

        It is called from the scraping thread, and returns an empty sequence once the worker has stopped.
        """

    def commanded(self, outcome: str) -> None:
        """A command of an operator was read: outcome ok, refused, absent, late or unreadable."""

    def observer_failed(self, observer: str, event: str, error: BaseException) -> None:
        """Another observer raised `error` in its method `event`; told by `elsa.observe.compound`."""
