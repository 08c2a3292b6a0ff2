"""Runs sync handlers in child processes (`executor="process"`): each thread of the pool has one child of its own.

A thread hands its child one call at a time and waits for the end, so a child that is killed (by its time limit, by
the kernel, by itself) fails the messages of that call and no others. Children are started when they are needed, and
replaced after `max_tasks_per_child` calls or above `max_memory_per_child`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import multiprocessing.spawn
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM
from elsa.context import Context
from elsa.errors import ChildEnded, HandlerTimeout, WorkerStartError
from elsa.observe import tracing
from elsa.outcome import ABANDONED
from elsa.worker import traced
from elsa.worker.batches import Batch
from elsa.worker.child import how_it_ended
from elsa.worker.delivery import unknown
from elsa.worker.executors.threads import ThreadExecutor
from elsa.worker.executors.wire import Call, End, Failure, Line, Load, Received
from elsa.worker.turns import BatchTurn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from elsa.config import Settings
    from elsa.handlers import Handler
    from elsa.worker.delivery import Invoker
    from elsa.worker.turns import Turn

_counter = time.perf_counter

COMMAND = (sys.executable, "-m", "elsa.worker.executors.child")
#: how long a child may take to import the app
START_SECONDS = 60.0
#: how long a child may take to end when it is told to
EXIT_SECONDS = 2.0


class ProcessExecutor(ThreadExecutor):
    """Up to `limit` child processes for one handler."""

    def __init__(
        self, handler: Handler[Any, Any], limit: int, settings: Settings, *, weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(handler.name, limit, weights=weights, make_runner=lambda: InChild(handler, settings))

    def _may_take(self) -> bool:
        # threads that wait for children do not stand in each other's way
        return True

    def stop(self, timeout: float) -> bool:
        # when nothing runs any more the children are still to shut down
        return super().stop(timeout + EXIT_SECONDS if timeout else 0.0)


class InChild:
    """Runs turns in a child process; belongs to one thread of the pool, but for `_notify` and `_kill`.

    Those two come from other threads, and perhaps late: `_lock` guards what they look at, so that nothing is done to
    the turn that has followed, or to its child.
    """

    def __init__(self, handler: Handler[Any, Any], settings: Settings) -> None:
        self._handler = handler
        self._settings = settings
        self._lock = threading.Lock()
        self._process: ChildProcess | None = None
        self._turn: Turn | None = None

    def run(self, turn: Turn) -> None:
        """Every message of the turn (or its batch) in a call of its own."""
        turn.observer.started(turn.size)
        with self._lock:
            self._turn = turn
        turn.cancel, turn.on_close = functools.partial(self._kill, turn), functools.partial(self._notify, turn)
        try:
            if isinstance(turn, BatchTurn):
                self._run_batch(turn)
            else:
                for raw in turn.messages():
                    self._run_message(turn, raw)
        finally:
            with self._lock:
                self._turn = None
            turn.observer.ended(turn.size)

    def _run_message(self, turn: Turn, raw: Any) -> None:
        worker = turn.worker
        attempt = worker.kept.made(raw) + 1
        context = Context(worker, (raw,), worker.to_message, attempt)
        invoker = worker.router.only or turn.invoker(raw)
        if invoker is None:
            turn.pass_over(raw, context, unknown(raw, worker.binding))
            return
        if (late := invoker.expired(raw, attempt)) is not None:
            turn.pass_over(raw, context, late)
            return
        # outside of what counts as the message's failure
        if not self._prepare(turn):
            return
        began = _counter()
        with _span(invoker, context) as span:
            try:
                end = self._call(turn, (raw,), attempt)
                outcome = invoker.interpret(end.result(), (raw,), attempt)
            except Exception as error:  # border: whatever became of the call is the message's outcome
                outcome = ABANDONED if worker.closed and turn.is_over else invoker.failed(error, attempt, raw)
            if span is not None:
                outcome = traced.told(span, outcome)
        turn.since = _counter()
        turn.took(turn.since - began, outcome)
        worker.conclude(turn, raw, context, outcome)

    def _run_batch(self, turn: BatchTurn) -> None:
        worker = turn.worker
        if not self._prepare(turn):
            return
        batch = Batch(worker, turn)
        batch.let_expire()
        if not batch.raws:
            return
        with _span(batch.invoker, batch.context) as span:
            try:
                end = self._call(turn, batch.raws, batch.attempt)
                batch.drop({index: failure.error() for index, failure in end.undecoded.items()})
                outcome = batch.invoker.interpret(end.result(), batch.raws, batch.attempt) if batch.raws else None
            except Exception as error:  # border: as above
                outcome = ABANDONED if worker.closed and turn.is_over else batch.failed(error)
            if outcome is not None and span is not None:
                outcome = traced.told(span, outcome)
        if outcome is not None:
            batch.conclude(outcome)

    def _call(self, turn: Turn, raws: Sequence[Any], attempt: int) -> End:
        """One call in the child, to its end; raises what it came to instead."""
        worker = turn.worker
        process = self._process
        assert process is not None
        timeout = self._handler.declared.timeout
        offsets = [raw.offset() for raw in raws]
        progress = {offset: worker.kept.progress[offset] for offset in offsets if offset in worker.kept.progress}
        turn.since = _counter()
        try:
            process.line.send(
                "call",
                Call(
                    [Received.fields(raw) for raw in raws],
                    worker.group,
                    worker.generation,
                    attempt,
                    progress,
                    worker.is_retry,
                    () if turn.observer.span is None else tracing.carried(),
                ),
            )
            if worker.closed:
                # just now, when the child did not have this call yet
                process.tell_stopping()
            end = process.end(timeout, lambda told: worker.heartbeat(offsets, told))
        except (EOFError, OSError) as error:
            raise self._ended(turn) from error
        except BaseException:
            # nobody knows what it does: the end of this call must never be taken for that of the next one
            self._discard(kill=True)
            raise
        if end is None:
            self._discard(kill=True)
            raise HandlerTimeout(f"{self._handler.name} ran longer than {timeout:g} s: its child process was killed")
        self._note(process, end)
        return end

    def _prepare(self, turn: Turn) -> bool:
        """Have a child, and whether anything is still to begin in it; raises WorkerStartError."""
        if self._process is not None and self._process.has_ended:
            # killed while it had nothing to do: no message has failed by that
            self._discard(kill=True)
        if self._process is None:
            self._start(is_traced=turn.observer.span is not None)
        # that takes a while: the partition may have gone
        return not turn.worker.closed

    def _start(self, *, is_traced: bool) -> None:
        process = ChildProcess(self._handler.name)
        try:
            process.load(_load(self._handler, self._settings, is_traced=is_traced))
        except BaseException:
            process.kill()
            raise
        with self._lock:
            self._process = process

    def _ended(self, turn: Turn) -> ChildEnded:
        """The child went while it ran a call."""
        process = self._process
        assert process is not None
        code = process.wait()
        self._discard(kill=True)
        if turn.worker.closed:
            # it was killed because the partition goes
            turn.is_over = True
        hint = "the kernel does that when memory runs out" if code == -signal.SIGKILL else None
        return ChildEnded(f"the child process that ran {self._handler.name} {how_it_ended(code)}", hint=hint)

    def _note(self, process: ChildProcess, end: End) -> None:
        """Whether the child has done enough."""
        declared = self._handler.declared
        process.calls += 1
        most, memory = declared.max_tasks_per_child, declared.max_memory_per_child
        if (most is not None and process.calls >= most) or (memory is not None and end.resident > memory):
            self._discard(kill=False)

    def _discard(self, *, kill: bool) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            (process.kill if kill else process.close)()

    # -- from other threads

    def _kill(self, turn: Turn) -> None:
        """The partition's deadline has passed."""
        with self._lock:
            if self._turn is turn and self._process is not None:
                self._process.signal(signal.SIGKILL)

    def _notify(self, turn: Turn) -> None:
        """The partition goes: the running call may look at `ctx.is_stopping`."""
        with self._lock:
            if self._turn is turn and self._process is not None:
                self._process.tell_stopping()

    def close(self) -> None:
        self._discard(kill=False)


class ChildProcess:
    """One child, from its start to its end."""

    def __init__(self, name: str) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of this package
                (*COMMAND, str(theirs.fileno())), pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.line = Line(ours.detach())
        self.calls = 0
        self._name = name

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def load(self, load: Load) -> None:
        """Have it load the handler, and wait for that; raises WorkerStartError with what went wrong there."""
        try:
            self.line.send("load", load)
            if not self.line.has_news(START_SECONDS):
                raise WorkerStartError(f"a child process for {self._name} was not ready after {START_SECONDS:g} s")
            kind, *rest = self.line.receive()
        except (EOFError, OSError) as error:
            text = f"a child process for {self._name} {how_it_ended(self.wait())} while it started"
            raise WorkerStartError(text) from error
        if kind == "failed":
            failure: Failure = rest[0]
            raise WorkerStartError(f"a child process for {self._name} could not start: {failure.text}\n{failure.trace}")

    def end(self, timeout: float | None, beat: Callable[[Any], None]) -> End | None:
        """The end of the running call, None when it took longer; raises EOFError or OSError when the child is gone."""
        deadline = None if timeout is None else SYSTEM.monotonic() + timeout
        while self.line.has_news(None if deadline is None else max(0.0, deadline - SYSTEM.monotonic())):
            kind, *rest = self.line.receive()
            if kind == "end":
                end: End = rest[0]
                return end
            beat(rest[0])
            if deadline is not None and SYSTEM.monotonic() >= deadline:
                # heartbeats that come without a pause must not put it off
                break
        return None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended; from any thread."""
        self._process.send_signal(number)

    def tell_stopping(self) -> None:
        try:
            self.line.send("stopping")
        except OSError:  # it is gone; who waits for its end sees that
            return

    def wait(self) -> int:
        """Its exit code."""
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._process.wait()
        return int(self._process.returncode)

    def kill(self) -> None:
        """End it now."""
        self.signal(signal.SIGKILL)
        self.wait()
        self.line.close()

    def close(self) -> None:
        """Let it shut down, and wait for that."""
        try:
            self.line.send("exit")
        except OSError:
            self.kill()
            return
        self.wait()
        self.line.close()


def _load(handler: Handler[Any, Any], settings: Settings, *, is_traced: bool = False) -> Load:
    module = handler.declared_in
    preparation = multiprocessing.spawn.get_preparation_data("elsa-child")
    if module != "__main__":
        for name in ("init_main_from_name", "init_main_from_path"):
            preparation.pop(name, None)
    # logging is Elsa's, the rest is of processes that multiprocessing itself has made
    for name in ("log_to_stderr", "log_level", "start_method", "authkey"):
        preparation.pop(name, None)
    given = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    given.pop("name")
    return Load(
        module=module,
        app=settings.name,
        handler=handler.name,
        settings={name: value for name, value in given.items() if value is not None},
        preparation=preparation,
        log_level=settings.log_level,
        json_logs=settings.json_logs,
        is_traced=is_traced,
    )


def _span(invoker: Invoker, context: Context) -> Any:
    """The span around a call, None when nobody traces: it runs elsewhere, but is waited for here."""
    span = invoker.observer.span
    return contextlib.nullcontext() if span is None else span(context.messages, context.attempt)
