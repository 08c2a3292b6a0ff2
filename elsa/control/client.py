"""Sends commands to the running workers of an App and collects their answers; called by App and command line."""

from __future__ import annotations

import dataclasses
import functools
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM
from elsa.control.protocol import SILENT_SECONDS, Answer, Command, Status, Target, decode, encode
from elsa.errors import CommandError, KafkaError, NoWorker, UnknownTarget, UnknownTopic
from elsa.ids import uuid7
from elsa.kafka.admin import Admin
from elsa.kafka.producer import ProducerClient
from elsa.kafka.reader import EndOfPartition, Reader
from elsa.message import Message, TopicPartition
from elsa.names import control_topic, status_topic
from elsa.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.config import Settings

log = logging.getLogger("elsa.control")

#: how long answers are waited for
TIMEOUT_SECONDS = 2.0
#: how long the command itself may take to the broker
_SEND_SECONDS = 5.0
_POLL_SECONDS = 0.05


@dataclass(slots=True)
class Answers:
    """What came back: by worker, and which workers were expected to answer."""

    by_worker: dict[str, Answer] = field(default_factory=dict)
    #: that have reported lately and are meant by the target
    expected: set[str] = field(default_factory=set)

    @property
    def results(self) -> dict[str, Any]:
        """What the workers answered that have done it."""
        return {name: answer.result for name, answer in sorted(self.by_worker.items()) if answer.error is None}

    @property
    def refused(self) -> dict[str, str]:
        """Why the others have not; of those that have nothing of what was named nothing is told."""
        return {
            name: answer.error
            for name, answer in sorted(self.by_worker.items())
            if answer.error is not None and not answer.is_absent
        }

    @property
    def missing(self) -> list[str]:
        """Workers that run and did not answer."""
        return sorted(self.expected - self.by_worker.keys())

    def check(self, target: Target, app: str, timeout: float) -> None:
        """Raise UnknownTarget, NoWorker or CommandError unless every worker has done it."""
        facts: dict[str, Any] = {"results": self.results, "refused": self.refused, "missing": self.missing}
        if self.by_worker and all(answer.is_absent for answer in self.by_worker.values()):
            first = next(iter(self.by_worker.values()))
            raise UnknownTarget(f"no worker of {app!r} has it: {first.error}", **facts)
        if not self.by_worker:
            raise NoWorker(
                f"no worker of {app!r} answered within {timeout:g} s"
                + (f", though {', '.join(self.missing)} should" if self.missing else _where(target)),
                hint=None if self.missing else "is it the app's name? `-A module:app` or `--name` say which is meant",
                **facts,
            )
        if self.refused or self.missing:
            texts = [f"{name}: {why}" for name, why in self.refused.items()]
            texts += [f"{name}: no answer within {timeout:g} s" for name in self.missing]
            # a line each: a reason may bring a hint, which ends its own line
            raise CommandError("\n".join(texts), **facts)


def _where(target: Target) -> str:
    return f" (asked was {target.worker})" if target.worker is not None else ""


class Caller:
    """Calls the workers of one App; every call has clients of its own, and may be made by any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._control = control_topic(settings.name)
        self._status = status_topic(settings.name)
        self._admin = Admin(settings)

    def call(
        self,
        name: str,
        target: Target | None = None,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Answers:
        """Send a command and collect what comes back within `timeout` seconds, or until all have answered.

        Raises NoWorker where there is no control topic, and what Kafka refuses; the Answers say the rest.
        """
        target = target or Target()
        # who reads it later than that is not waited for any more
        command = Command(
            name=name, id=uuid7(), target=target, arguments=dict(arguments or {}), ttl=max(timeout, _SEND_SECONDS)
        )
        end = self._end_of_commands()
        with Reader(self._settings, wait_milliseconds=100) as reader:
            sent_at = self._send(command)
            deadline = SYSTEM.monotonic() + timeout
            # from where the topic ended before the command, so that no answer is missed
            begins = {TopicPartition(self._control, 0): end}
            reports = self._reports_since(sent_at - SILENT_SECONDS)
            if reports is not None:
                begins[TopicPartition(self._status, 0)] = reports
            reader.assign_all(begins)
            return self._collect(reader, command, reports is not None, deadline)

    def _end_of_commands(self) -> int:
        place = TopicPartition(self._control, 0)
        try:
            # by name: a list leaves out what may not be seen
            self._admin.partitions(self._control)
        except UnknownTopic as error:
            raise NoWorker(
                f"no worker of {self._settings.name!r} can be reached: there is no topic {self._control!r}",
                hint="a worker makes it when it starts, except in production; is that the app's name?",
            ) from error
        return self._admin.offsets([place], "latest")[place]

    def _send(self, command: Command) -> float:
        """Send it; when that was by the broker's clock."""
        settings = dataclasses.replace(self._settings, send_timeout=_SEND_SECONDS, send_linger=0.0)
        # the same command twice is the same wish
        producer = Producer(settings, connect=functools.partial(ProducerClient, is_idempotent=False))
        try:
            # the only one that is read, however many a topic has that somebody has made by hand
            sent = producer.send(self._control, encode(command), key=command.id, partition=0).result(2 * _SEND_SECONDS)
        finally:
            producer.close(0)
        return sent.timestamp if sent.timestamp is not None else SYSTEM.now()

    def _reports_since(self, moment: float) -> int | None:
        """Where the reports of the workers since then begin, None when there are none."""
        place = TopicPartition(self._status, 0)
        try:
            offset = self._admin.offsets([place], datetime.fromtimestamp(moment, UTC))[place]
        except KafkaError as error:  # to know who should answer is a help, no condition
            log.info("it is not known which workers should answer: %s", error)
            return None
        return offset if offset >= 0 else None

    def _collect(self, reader: Reader, command: Command, reads_status: bool, deadline: float) -> Answers:  # noqa: FBT001 - the fact itself
        answers = Answers()
        while (left := deadline - SYSTEM.monotonic()) > 0:
            for item in reader.read(min(left, _POLL_SECONDS)):
                if isinstance(item, EndOfPartition) and item.topic == self._status:
                    reads_status = False
                elif isinstance(item, Message) and item.topic == self._status:
                    _note(answers, item, command.target)
                elif isinstance(item, Message):
                    found = decode(item.value)
                    if isinstance(found, Answer) and found.id == command.id:
                        answers.by_worker[found.worker] = found
            if not reads_status and answers.expected and not answers.missing:
                break
        return answers


def _note(answers: Answers, message: Message, target: Target) -> None:
    """A worker has reported, or has ended."""
    name = (message.key or b"").decode(errors="replace")
    found = decode(message.value)
    if isinstance(found, Status) and target.is_for(found.worker, found.slot):
        answers.expected.add(name)
    elif message.value is None:
        answers.expected.discard(name)


class Control:
    """Asks and steers the running workers of an App; by the worker's name, what each of them answers.

    Every method takes `worker`, `handler`, `group`, `topic` and `partition` to mean less than everything, and
    `timeout` in seconds. What is set holds until the worker process ends. Raises NoWorker, UnknownTarget, or
    CommandError with the `results` of those that have done it.

    ```python
    app.control.active(handler="shop.bill")     # {"shop-host-0": [{"topic": "orders", "offset": 17, ...}]}
    app.control.pause(topic="orders", partition=3)
    app.control.rate("shop.bill", "10/s")
    ```
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._caller = Caller(settings)

    def _all(
        self, name: str, where: Mapping[str, Any], arguments: Mapping[str, Any] | None = None, *, timeout: float
    ) -> dict[str, Any]:
        target = Target(**where)
        answers = self._caller.call(name, target, arguments, timeout=timeout)
        answers.check(target, self._settings.name, timeout)
        return answers.results

    def ping(self, *, timeout: float = TIMEOUT_SECONDS, **where: Any) -> dict[str, Any]:
        """Who is there: host, pid, slot, version, since when, ready, quiet."""
        return self._all("ping", where, timeout=timeout)

    def active(self, *, timeout: float = TIMEOUT_SECONDS, **where: Any) -> dict[str, Any]:
        """The calls that run now: handler, place, key, attempt, seconds, and the progress of its last heartbeat."""
        return self._all("active", where, timeout=timeout)

    def assignments(self, *, timeout: float = TIMEOUT_SECONDS, **where: Any) -> dict[str, Any]:
        """The partitions of each worker: position, committed, what is in hand, why it is paused."""
        return self._all("assignments", where, timeout=timeout)

    def config(self, *, timeout: float = TIMEOUT_SECONDS, **where: Any) -> dict[str, Any]:
        """The effective settings and where each comes from, secrets hidden."""
        return self._all("config", where, timeout=timeout)

    def stacks(self, *, timeout: float = TIMEOUT_SECONDS, **where: Any) -> dict[str, Any]:
        """The stacks of all threads, and of the calls that wait on the event loop, as text."""
        return self._all("stacks", where, timeout=timeout)

    def pause(self, *, timeout: float = TIMEOUT_SECONDS, **where: Any) -> dict[str, Any]:
        """Begin nothing more of a handler, group, topic or partition; what runs goes on."""
        return self._all("pause", where, timeout=timeout)

    def resume(self, *, timeout: float = TIMEOUT_SECONDS, **where: Any) -> dict[str, Any]:
        """Go on after `pause`."""
        return self._all("resume", where, timeout=timeout)

    def rate(
        self, handler: str, rate: float | str | None, *, timeout: float = TIMEOUT_SECONDS, **where: Any
    ) -> dict[str, Any]:
        """Start so many messages of a handler a second in all of its group; None: as fast as it goes."""
        return self._all("rate", {"handler": handler, **where}, {"rate": rate}, timeout=timeout)

    def loglevel(
        self, level: str, logger: str = "", *, timeout: float = TIMEOUT_SECONDS, **where: Any
    ) -> dict[str, Any]:
        """Log from this level on; of one logger, or of all that have none of their own."""
        return self._all("loglevel", where, {"level": level, "logger": logger}, timeout=timeout)

    def quiet(self, *, timeout: float = TIMEOUT_SECONDS, **where: Any) -> dict[str, Any]:
        """Take no more work: the processes of those `elsa worker` that are meant, and their successors."""
        return self._all("quiet", where, timeout=timeout)

    def stop(self, *, timeout: float = TIMEOUT_SECONDS, **where: Any) -> dict[str, Any]:
        """End in order, as by TERM: those `elsa worker` that are meant, with all of their processes."""
        return self._all("stop", where, timeout=timeout)
