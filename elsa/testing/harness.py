"""The harness of users' own tests: an App's handlers on topics in memory, step by step; made by `App.test`."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Self

from elsa.clock import SYSTEM
from elsa.codecs import NAMED, encode
from elsa.errors import NotStarted
from elsa.handlers import Handler, Task
from elsa.kafka.consumer import to_message
from elsa.message import Record, TopicPartition
from elsa.testing.clock import FakeClock
from elsa.testing.log import MemoryLog
from elsa.testing.recording import DeadLetter, Handled, Journal, SentMessage
from elsa.testing.runner import Runner
from elsa.testing.stand_ins import Absent, MemoryProducer, MemoryTopics, Occupation
from elsa.worker import hooks, propagation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from elsa.app import App
    from elsa.message import RecordMetadata
    from elsa.producer import Delivery

__all__ = ["DeadLetter", "FakeClock", "Handled", "Harness", "SentMessage"]

#: how often acknowledgements from other threads are looked for, in real seconds
_LOOK_SECONDS = 0.005


class Harness:
    """Runs an App's handlers without a broker: same decoding, middleware, retries and settlement as a worker.

    Everything sent while it is open (by `t.send`, `app.send`, `handler.send`, `ctx.send`) goes to topics in
    memory, and is run to completion, one message at a time in the order sent, before a send from the test
    returns. What a handler raises is raised there again (several: the first, with a note on the others), but
    its message stays what the retry policy made of it; Skip, Reject and RetryLater are no errors.
    With `raise_errors=False` only the policy decides. `partitions` (a number, or {topic: number}) defaults to
    the handler's `partitions_count`, else 1. The clock begins at `now` (a datetime, or seconds since 1970; the
    machine's time) and stands still until `advance`, which runs the retries, batches and schedules that become due;
    code inside handlers sees the machine's time. Use it from one thread.

    ```python
    with app.test() as t:
        t.send("orders", {"id": 1}, key="ann")
        assert [m.json() for m in t.sent("invoices")] == [{"order": 1}]
    ```
    """

    def __init__(
        self,
        app: App,
        *,
        raise_errors: bool = True,
        partitions: Mapping[str, int] | int | None = None,
        now: float | datetime | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        self.app = app
        self.clock = clock or FakeClock(now)
        self._raise_errors = raise_errors
        self._journal = Journal()
        self._log = MemoryLog(self.clock, _checked(partitions))
        self._runner = Runner(app, self.clock, self._log, self._journal)
        self._log.created = self._runner.topic_created
        self._producer = MemoryProducer(app, self._log, self._sending)
        stand_ins = {
            "_producer": self._producer,
            "clock": self.clock,
            "topics": MemoryTopics(self._log, app.name),
            "groups": Absent("groups"),
            "fetcher": Absent("fetcher"),
        }
        self._occupation = Occupation(app, self, stand_ins, self._journal.failed)
        self._owner = threading.get_ident()
        self.is_ready = False

    # -- begin and end -----------------------------------------------------------------------------

    def start(self) -> Self:
        """Take the App's sends over and run its on_startup and on_assigned hooks; once for each harness."""
        self._occupation.begin()
        self._owner = threading.get_ident()
        propagation.install()
        try:
            with self._runner.busy():
                self._runner.create_topics()
                hooks.call(self.app, "startup")
                self._runner.begin()
            self.is_ready = True
            self._run()
        except BaseException:
            self._leave()
            raise
        return self

    def close(self) -> None:
        """Commit, run teardown, on_revoked and on_shutdown, and give the App its clients back; idempotent."""
        try:
            self._end()
        finally:
            self._leave()
        self._raise()

    def _end(self) -> None:
        if not self.is_ready:
            return
        self.is_ready = False
        with self._runner.busy():
            self._runner.end()
            hooks.call(self.app, "shutdown")

    def _leave(self) -> None:
        self.is_ready = False
        self._occupation.end()
        self._producer.close(0.0)

    def restart(self) -> None:
        """Stop all workers and begin anew at what is committed, as after a deploy: what is unfinished comes again."""
        self._check_open()
        with self._runner.busy():
            self._runner.end()
            self._runner.begin()
        self._run()

    def stop(self, timeout: float = 0.0, *, leave: bool | None = None) -> bool:  # noqa: ARG002 - as a runtime's
        """What `app.stop()` in the code under test does: end the workers, until the harness gives the App back."""
        self._end()
        self._raise()
        return True

    def wait_ready(self, timeout: float) -> bool:  # noqa: ARG002 - as a runtime's
        """What `app.wait_ready()` in the code under test gets."""
        return self.is_ready

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.close()
        except Exception:  # what the test itself has raised says more than what its end brought up
            if error is None:
                raise

    # -- sending -----------------------------------------------------------------------------------

    def send(self, target: str | Handler[Any, Any], value: Any, **options: Any) -> Delivery:
        """Send one message to a topic or a handler and run all that follows from it.

        Options are those of `app.send` and `handler.send`: key, headers, partition, id, timestamp, delay or eta (by the
        harness's clock), expires. A str or
        bytes goes out as it is, None is a tombstone. To call a task, use its own `send`.
        """
        self._check_open()
        if isinstance(target, Task):
            raise TypeError(f"a task is sent by its arguments: {target.name}.send(...), also inside the harness")
        if isinstance(target, Handler):
            return target.send(value, **options)
        return self.app.send(target, value, **options)

    def send_many(
        self,
        target: str | Handler[Any, Any],
        values: Iterable[Any],
        *,
        key: Callable[[Any], Any] | str | bytes | None = None,
        headers: object = (),
        partition: int | None = None,
    ) -> list[RecordMetadata]:
        """Send many messages before the first of them is run: what a batch handler then finds waiting.

        `key` is one key for all, or `key(value)` gives each one's.
        """
        self._check_open()
        is_handler = isinstance(target, Handler)
        codec = target.declared.codec if isinstance(target, Handler) else NAMED["json"]
        records = [
            Record(encode(value, codec), key=key(value) if callable(key) else key, headers=headers, partition=partition)
            for value in values
        ]
        return self.app.produce(target.topic if is_handler else target, records)  # type: ignore[union-attr, arg-type]  # as is_handler says

    def refuse(self, topic: str, code: str = "TOPIC_AUTHORIZATION_FAILED", *, times: int | None = None) -> None:
        """Let the broker refuse sends to a topic: the next `times`, or all until `accept`.

        `code` is Kafka's name of the error, as in `elsa.errors.KafkaError.code`.
        """
        self._log.refusals[topic] = (code, times)

    def accept(self, topic: str) -> None:
        """Take sends to a topic again."""
        self._log.refusals.pop(topic, None)

    # -- time --------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Move the clock; retries, batches, restarts and periodic tasks that become due run in order, at their time."""
        self._check_open()
        if seconds < 0:
            raise ValueError(f"time does not go back: advance({seconds:g})")
        self._runner.move_to(self.clock.monotonic() + seconds)
        self._raise()

    def advance_to_next(self) -> float:
        """Move the clock to the next retry, batch or restart and run it; the seconds moved, 0.0 if nothing waits.

        Periodic tasks that are due on the way run, too; what only they would bring is not waited for.
        """
        self._check_open()
        due = self._runner.next_due
        if due is None:
            return 0.0
        seconds = max(0.0, due - self.clock.monotonic())
        self._runner.move_to(due)
        self._raise()
        return seconds

    def run_until_idle(self, timeout: float = 0.0) -> None:
        """Run what is there to be run now; a send and `advance` do this by themselves.

        With a `timeout` it also waits up to that many real seconds until deferred messages are acknowledged by
        threads or tasks that the handlers have started; raises TimeoutError when some are not.
        """
        self._check_open()
        self._runner.run()
        end = SYSTEM.monotonic() + timeout
        while timeout and (waiting := self._runner.deferred()) and not self._journal.errors:
            if SYSTEM.monotonic() >= end:
                raise TimeoutError(f"not acknowledged after {timeout:g} s: {', '.join(waiting)}")
            self._runner.wait(_LOOK_SECONDS)
        self._raise()

    # -- what happened -----------------------------------------------------------------------------

    @property
    def outcomes(self) -> list[Handled]:
        """What each delivery came to, in order: one entry for each attempt."""
        return list(self._journal.handled)

    @property
    def results(self) -> list[Any]:
        """What the calls returned that ended well, in order."""
        return list(self._journal.results)

    def sent(self, topic: str | None = None) -> list[SentMessage]:
        """Everything on a topic (on all of them without one), in the order sent, whoever sent it."""
        return [_sent(raw) for raw in self._log.messages(topic)]

    def dead_letters(self, source: str | Handler[Any, Any] | None = None) -> list[DeadLetter]:
        """The dead letters of a topic (of a dead-letter topic), of a handler, or all."""
        found = [letter for one in self.sent() if (letter := DeadLetter.of(one)) is not None]
        if source is None:
            return found
        if isinstance(source, Handler):
            return [letter for letter in found if letter.handler == source.name]
        return [letter for letter in found if source in (letter.source, letter.message.topic)]

    def committed(self, topic: str, partition: int = 0, group: str | None = None) -> int | None:
        """The offset that a group has committed: the next one it would get after a restart, None for none yet.

        Without `group` it is the one group that reads the topic; raises ValueError when several do.
        """
        if self.is_ready and not self._runner.is_busy:
            self._runner.run()
        where = TopicPartition(topic, partition)
        if group is None:
            groups = {name for name, one in self._log.committed if one == where}
            if len(groups) > 1:
                raise ValueError(f"{where} is read by several groups, name one: {', '.join(sorted(groups))}")
            group = next(iter(groups), "")
        found = self._log.committed.get((group, where))
        return None if found is None else found.offset

    # -- running -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _sending(self) -> Iterator[None]:
        """Around each send: from outside the handlers, what follows from it is run before it returns."""
        if self._runner.is_busy or not self.is_ready or threading.get_ident() != self._owner:
            yield
            return
        with self._runner.busy():
            yield
        self._run()

    def _run(self) -> None:
        self._runner.run()
        self._raise()

    def _raise(self) -> None:
        errors = self._journal.take_errors()
        if not errors or not self._raise_errors:
            return
        first = errors[0]
        for other in errors[1:]:
            first.add_note(f"after it, another handler call failed: {type(other).__name__}: {other}")
        raise first

    def _check_open(self) -> None:
        if not self.is_ready:
            raise NotStarted(
                f"the harness of {self.app.name!r} is not open", hint="use it inside `with app.test() as t:`"
            )


def _sent(raw: Any) -> SentMessage:
    message = to_message(raw)
    return SentMessage(*(getattr(message, name) for name in message.__slots__))


def _checked(partitions: Mapping[str, int] | int | None) -> Mapping[str, int] | int:
    if partitions is None:
        return {}
    counts = [partitions] if isinstance(partitions, int) else partitions.values()
    if min(counts, default=1) < 1:
        raise ValueError(f"partitions={partitions!r}: a topic has at least 1 partition")
    return partitions
