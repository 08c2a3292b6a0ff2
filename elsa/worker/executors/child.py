"""The main of a child process that runs one handler's calls for a worker process: `executor="process"`.

Started by `elsa.worker.executors.processes` as `python -m elsa.worker.executors.child FD`, never forked. The main
thread runs the calls; a second one reads, so that a stop is heard while a call runs, and the parent's end ends this.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import multiprocessing.spawn
import os
import queue
import resource
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from elsa import exits
from elsa.clock import SYSTEM
from elsa.context import _ACTIVE, Context
from elsa.errors import DecodeError, HandlerResultError, NotAssigned, WorkerStartError
from elsa.kafka.consumer import to_message
from elsa.message import TopicPartition
from elsa.observe import logs, tracing
from elsa.observer import HandlerObserver
from elsa.outcome import Result
from elsa.policies import retried
from elsa.worker import hooks
from elsa.worker.delivery import Invoker
from elsa.worker.executors.wire import Call, End, Failure, Line, Load, Received, pickled_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elsa.app import App
    from elsa.handlers import Handler
    from elsa.message import Message

_PAGE = resource.getpagesize()
#: what the last spans may take; the parent waits a little longer than that
FLUSH_SECONDS = 1.0
#: of Linux's prctl: which signal comes when the thread that has started this process ends
_PR_SET_PDEATHSIG = 1


class Child:
    """One handler and the line to the parent."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self.is_stopping = False
        self.app: App
        self.handler: Handler[Any, Any]

    def run(self) -> int:
        """Load the handler, then handle what comes until the parent says that it is enough."""
        # the terminal's signals are the supervisor's; USR1 shows where a call stands
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        faulthandler.register(signal.SIGUSR1, all_threads=True, chain=False)
        end_with_parent()
        _, load = self._line.receive()
        try:
            self._load(load)
        except BaseException as error:
            self._line.send("failed", Failure.of(error))
            return exits.WORKER_FAILED
        reader = threading.Thread(target=self._read, name="elsa-child-reader", daemon=True)
        reader.start()
        self._line.send("ready")
        while (call := self._calls.get()) is not None:
            self._line.send("end", self._end_of(call))
        hooks.call(self.app, "shutdown")
        self.app.stop()
        tracing.flush(FLUSH_SECONDS)
        return exits.OK

    def _load(self, load: Load) -> None:
        logs.setup(load.log_level, load.json_logs)
        multiprocessing.spawn.prepare(dict(load.preparation))
        if load.module != "__main__":
            importlib.import_module(load.module)
        from elsa.app import get_app  # noqa: PLC0415 - after the user's module, which may set the environment

        self.app = get_app(load.app)
        handler = self.app.registry.get(load.handler)
        if handler is None:
            raise WorkerStartError(
                f"importing {load.module} in a child process declares no handler {load.handler!r}",
                hint='declare it at the module\'s top level, not under `if __name__ == "__main__"`',
            )
        self.handler = handler
        self.app.configure(**load.settings)
        tracing.watch(self.app, carries=load.is_traced)
        self._invoker = Invoker(handler, None, HandlerObserver(), SYSTEM)
        hooks.call(self.app, "startup")

    def _read(self) -> None:
        while True:
            try:
                kind, *rest = self._line.receive()
            except (EOFError, OSError):
                # The parent is gone and its messages go to somebody else: two must not work on the same one.
                os._exit(exits.WORKER_FAILED)
            if kind == "call":
                # here and not where it is run: what is said of this call may be heard before that
                self.is_stopping = False
                self._calls.put(rest[0])
            elif kind == "stopping":
                self.is_stopping = True
            elif kind == "exit":
                self._calls.put(None)

    # -- calls -----------------------------------------------------------------------------------------

    def _end_of(self, call: Call) -> End:
        site = Site(self, call)
        raws = [Received(fields) for fields in call.messages]
        bodies, undecoded = self._decode(site, raws)
        if self.handler.declared.batch is not None:
            raws = [raw for index, raw in enumerate(raws) if index not in undecoded]
            if not raws:
                return End(undecoded=undecoded, resident=resident())
        context = Context(site, tuple(raws), site.to_message, call.attempt)
        _ACTIVE.set(context)
        try:
            with tracing.carrying(call.trace) if call.trace else contextlib.nullcontext():
                value = self._called(context, raws, bodies)
            return End(value, undecoded=undecoded, resident=resident())
        except MemoryError:
            # there may be nothing left to tell it with; the parent sees the end, and blames this message
            os._exit(exits.WORKER_FAILED)
        except Exception as error:  # border: whatever user code raises is the message's outcome
            return End(failure=Failure.of(error), undecoded=undecoded, resident=resident())
        finally:
            _ACTIVE.set(None)

    def _decode(self, site: Site, raws: Sequence[Received]) -> tuple[list[Any], dict[int, Failure]]:
        """The bodies of a batch; a single message is decoded in its call."""
        bodies: list[Any] = []
        undecoded: dict[int, Failure] = {}
        if self.handler.declared.batch is None:
            return bodies, undecoded
        decode = self.handler.decode
        for index, raw in enumerate(raws):
            try:
                bodies.append(site.to_message(raw) if decode is None else decode(raw.value()))
            except DecodeError as error:
                undecoded[index] = Failure.of(error)
        return bodies, undecoded

    def _called(self, context: Context, raws: Sequence[Received], bodies: list[Any]) -> bytes | None:
        if self.handler.declared.batch is None:
            value = self._invoker.call(raws[0], context)
        else:
            value = self._invoker.run((bodies,) if self.handler.shape.has_body else (), {}, context)
        if value is Result.DEFER:
            raise HandlerResultError(
                f"{self.handler.name} returned DEFER from a child process, where nothing can acknowledge it later",
                hint='use executor="thread" to defer',
            )
        # a message is done when everything that its call has sent is confirmed
        for send in context.sends or ():
            if (error := send.exception(self.app.settings.send_timeout)) is not None:
                raise error
        return pickled_result(value, self.handler.name)

    def beat(self, progress: Any) -> None:
        """Tell the parent how far the call is."""
        self._line.send("beat", progress)


class Site:
    """What a Context asks of the place where its messages run."""

    def __init__(self, child: Child, call: Call) -> None:
        self._child = child
        self.app = child.app
        self.group = call.group
        self.generation = call.generation
        self.progress = dict(call.progress)
        self._is_retry = call.is_retry
        topic, partition, *_ = call.messages[0]
        self.partition = TopicPartition(topic, partition)

    @property
    def is_stopping(self) -> bool:
        return self._child.is_stopping

    def handler_of(self, raws: Sequence[Any]) -> str:  # noqa: ARG002 - the seam
        return self._child.handler.name

    def to_message(self, raw: Any) -> Message:
        message = to_message(raw, self.generation)
        return retried.as_origin(message) if self._is_retry else message

    def heartbeat(self, offsets: Sequence[int], progress: Any) -> None:
        for offset in offsets:
            self.progress[offset] = progress
        self._child.beat(progress)

    def ack(self, messages: Sequence[Message]) -> None:  # noqa: ARG002 - the seam
        raise NotAssigned(
            f"{self._child.handler.name} runs in a child process: its messages are done when its call returns",
            hint='use executor="thread" to defer and acknowledge',
        )


def end_with_parent() -> None:
    """Have Linux end this process when its parent ends: in C code that keeps the interpreter's lock nobody reads that.

    Linux takes the end of the thread that has started it for the parent's; that thread lives as long as its child.
    """
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, AttributeError, OSError):
            import ctypes  # noqa: PLC0415 - not everywhere

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def resident() -> int:
    """Bytes of memory that this process has resident now (on Linux), or had at most."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - once for each call
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def main() -> int:
    """Entry of `python -m elsa.worker.executors.child FD`."""
    try:
        return Child(Line(int(sys.argv[1]))).run()
    except (BrokenPipeError, ConnectionResetError, EOFError):
        # the parent went, before anybody listened for that; it has told what there is to tell
        return exits.WORKER_FAILED


if __name__ == "__main__":
    sys.exit(main())
