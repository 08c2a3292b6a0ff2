"""The main of one worker process: takes its spec from the supervisor, runs an App's workers, reports, ends.

Started by the supervisor as `python -m elsa.worker.process`, never forked. The main thread waits for news
(from the supervisor, a signal, or the runtime) and does everything itself, but for `now`: that one is
answered by the reader's thread, because the main thread may be in the middle of a drain.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elsa import exits
from elsa.clock import SYSTEM
from elsa.errors import AppNotFound, BrokerUnavailable, ConfigError, DeclarationError, ElsaError
from elsa.loading import load_app
from elsa.observe import logs, tracing
from elsa.worker import reports
from elsa.worker.control import ControlChannel
from elsa.worker.executors import kind_of
from elsa.worker.spec import share
from elsa.worker.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.app import App
    from elsa.handlers import Handler
    from elsa.worker.runtime import Runtime

log = logging.getLogger("elsa.worker")

#: how often the runtime is looked at before and after it is ready
_STARTING_SECONDS = 0.02
_RUNNING_SECONDS = 0.5
#: how long the banner waits for the partition counts; a cluster that is away must not hold it up
_BANNER_SECONDS = 0.5
#: what an end may take beside draining and flushing
_LAST_SECONDS = 10.0
#: how often positions of standalone handlers are reported
_POSITIONS_SECONDS = 1.0
#: what the last spans may take
_FLUSH_SECONDS = 3.0
_FORCED_FLUSH_SECONDS = 0.5
#: what the producer has left of a stop that took all of its time
_CLOSE_SECONDS = 1.0


class WorkerProcess:
    """One run; `news` is the only way into the main thread."""

    def __init__(self, channel: ControlChannel) -> None:
        self._channel = channel
        self._news: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._runtime: Runtime | None = None
        self._app: App | None = None
        self._metrics: Any = None
        self._vitals: Vitals | None = None
        self._is_loaded = False
        self._is_ready = False
        self._positions: Mapping[str, Any] = {}
        self._positions_at = 0.0

    def run(self) -> int:
        """Live from the spec to the end; the exit code."""
        # While the app is imported TERM ends the process, whatever the import waits for: there is nothing to drain yet.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # the terminal sends these to the whole group: only the supervisor counts them
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        faulthandler.register(signal.SIGUSR1, all_threads=True, chain=False)
        self._channel.start(self._heard, self._orphaned)
        spec = self._news.get()
        if spec["type"] != "spec":
            return exits.OK
        # what the App says of logs is known only when it is loaded, and loading may have something to log
        logs.setup(spec.get("log_level") or "info", bool(spec.get("json_logs")))
        try:
            runtime = self._start(spec)
        except Exception as error:  # border: whatever keeps the user's app from starting is told to the supervisor
            return self._failed(error)
        return self._serve(runtime)

    def _heard(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "now":
            self._give_up("told to stop now")
        self._news.put(message)

    def _orphaned(self) -> None:
        if not self._is_loaded:
            # the main thread is in the user's import, and may stay there for ever
            os._exit(exits.OK)
        self._news.put({"type": "orphaned"})

    # -- start -----------------------------------------------------------------------------------------

    def _start(self, spec: Mapping[str, Any]) -> Runtime:
        app = self._app = load_app(spec.get("target"))
        self._is_loaded = True
        signal.signal(signal.SIGTERM, lambda *_: self._news.put({"type": "stop", "leave": None, "deadline": None}))
        app.configure(**spec.get("options", {}))
        settings = app.settings
        # the command line's wish is among the options by now
        logs.setup(settings.log_level, settings.json_logs)
        self._observe(app)
        from elsa.worker.runtime import Runtime  # noqa: PLC0415 - after the app: its errors come without the engine

        index = spec.get("index", 0)
        runtime = self._runtime = Runtime(
            app,
            topics=spec.get("topics", ()),
            exclude=spec.get("exclude", ()),
            weights=spec.get("weights") or {},
            index=index,
            # the spec's number is a guess when the App sets its own
            processes=settings.processes,
            preferred_slot=spec.get("slot"),
            burst=bool(spec.get("burst")),
            max_messages=share(spec.get("max_messages_total"), settings.processes, index),
            positions=spec.get("positions") or {},
            on_wish=self._wish,
        )
        runtime.tallies = self._metrics.tallies if self._metrics is not None else None
        app._runtime = runtime
        runtime.start()
        topics = runtime.topics(_BANNER_SECONDS)
        self._vitals = Vitals(runtime)
        self._channel.send(
            {
                "type": "hello",
                "pid": os.getpid(),
                "banner": banner(app, runtime, topics),
                "settings": _for_supervisor(app),
            }
        )
        # What is loaded now stays: the collector need not walk through it again with every slice of messages.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        return runtime

    def _observe(self, app: App) -> None:
        """Put what watches the engine into the App's seam, beside what the user has put there."""
        from elsa.observe.compound import Compound  # noqa: PLC0415 - costs start-up time only here
        from elsa.observe.metrics import observer_of  # noqa: PLC0415 - see above

        self._metrics = observer_of(app)
        app.observer = Compound(self._metrics, tracing.tracing_observer(app), app.observer)

    def _failed(self, error: Exception) -> int:
        code = exit_code(error)
        if code == exits.FAILED:
            log.error("the worker could not start", exc_info=error)
        self._channel.send({"type": "failed", "code": code, "error": (str(error) or repr(error)) + place_of(error)})
        self._channel.close(1.0)
        return code

    def _wish(self, what: str) -> None:
        """Pass on what an operator has told this process and all of them are to do."""
        self._channel.send({"type": "wish", "wish": what})

    # -- life ------------------------------------------------------------------------------------------

    def _serve(self, runtime: Runtime) -> int:
        while True:
            try:
                news = self._news.get(timeout=_RUNNING_SECONDS if self._is_ready else _STARTING_SECONDS)
            except queue.Empty:
                news = None
            if news is not None and (code := self._handle(runtime, news)) is not None:
                return code
            if runtime.ended.is_set():
                return self._ended(runtime)
            if not self._is_ready and runtime.is_ready:
                self._is_ready = True
                self._beat(at_once=True)
                self._channel.send({"type": "ready", "slot": runtime.slot.number if runtime.slot else None})
            self._report_positions(runtime)
            self._beat()

    def _beat(self, *, at_once: bool = False) -> None:
        """Tell the supervisor how this process is, where there is something to tell."""
        assert self._vitals is not None
        if (beat := self._vitals.beat(at_once=at_once)) is not None:
            self._channel.send(beat)

    def _handle(self, runtime: Runtime, news: Mapping[str, Any]) -> int | None:
        kind = news["type"]
        if kind == "stop":
            return self._stop(runtime, news.get("deadline"), leave=news.get("leave"), reason="stopped")
        if kind == "orphaned":
            log.warning("the supervisor is gone: stopping")
            return self._stop(runtime, None, leave=None, reason="stopped")
        if kind == "quiet":
            runtime.quiet()
        elif kind == "scrape":
            self._channel.send({"type": "samples", "id": news.get("id"), "snapshot": self._samples()})
        elif kind == "status":
            self._channel.send({"type": "status", "id": news.get("id"), "status": self._status(runtime)})
        return None

    def _samples(self) -> str:
        from elsa.observe.merge import pack, snapshot  # noqa: PLC0415 - only when somebody scrapes
        from elsa.observe.registry import process_registry  # noqa: PLC0415 - see above

        return pack(snapshot(self._metrics, process_registry()))

    @staticmethod
    def _status(runtime: Runtime) -> dict[str, Any]:
        from elsa.worker.status import status  # noqa: PLC0415 - only when somebody asks

        return status(runtime)

    def _report_positions(self, runtime: Runtime, *, force: bool = False) -> None:
        now = SYSTEM.monotonic()
        if not force and now - self._positions_at < _POSITIONS_SECONDS:
            return
        self._positions_at = now
        positions = runtime.positions()
        if positions and positions != self._positions:
            self._positions = positions
            self._channel.send({"type": "positions", "positions": positions})

    # -- end -------------------------------------------------------------------------------------------

    def _ended(self, runtime: Runtime) -> int:
        """The work is over by itself: caught up, enough messages, or it cannot go on."""
        if runtime.failure is not None:
            code = runtime.failure_code
            self._channel.send({"type": "failed", "code": code, "error": runtime.failure, "fatal": True})
            self._stop(runtime, None, leave=None, reason=None)
            return code
        return self._stop(runtime, None, leave=None, reason=runtime.reason)

    def _stop(self, runtime: Runtime, deadline: float | None, *, leave: bool | None, reason: str | None) -> int:
        assert self._app is not None
        limit = self._app.settings.stop_timeout if deadline is None else deadline
        end = SYSTEM.monotonic() + limit
        self._channel.send({"type": "ending", "seconds": limit + _LAST_SECONDS})
        clean = runtime.stop(limit, leave=leave)
        self._report_positions(runtime, force=True)
        self._app._runtime = None
        self._app.stop(max(_CLOSE_SECONDS, end - SYSTEM.monotonic()))
        tracing.flush(_FLUSH_SECONDS)
        if not clean:
            self._give_up("it did not return in time")
        # what was counted since the last scrape must not be lost with this process
        self._channel.send({"type": "samples", "id": 0, "snapshot": self._samples()})
        if reason is not None:
            self._channel.send({"type": "finished", "reason": reason})
        self._channel.close(1.0)
        return exits.OK

    def _give_up(self, why: str) -> None:
        """End at once, naming what blocks; the messages in hand come again."""
        running = self._runtime.running() if self._runtime is not None else []
        for call in running:
            log.error(
                "giving up a running handler: %s; %s",
                why,
                reports.fate(call),
                extra={"event": "forced_stop", **call},
            )
        # what waits for a handler is no news
        for name, place in self._runtime.places().items() if self._runtime is not None and not running else ():
            log.error(
                "giving up what a group manager does; what it has not committed will be delivered again",
                extra={"event": "forced_stop", "group": name, "stack": place},
            )
        self._channel.send({"type": "blocked", "calls": running})
        tracing.flush(_FORCED_FLUSH_SECONDS)
        logging.shutdown()
        if threading.current_thread() is threading.main_thread():
            self._channel.close(0.5)
        # threads that hang in user code would keep a normal exit waiting
        os._exit(exits.FORCED)


def exit_code(error: BaseException) -> int:
    """The exit code that says what kind of start failure this is."""
    if isinstance(error, AppNotFound):
        return exits.APP_NOT_FOUND
    if isinstance(error, ConfigError | DeclarationError):
        return exits.USAGE
    if isinstance(error, BrokerUnavailable):
        return exits.BROKER
    return exits.FAILED


def place_of(error: BaseException) -> str:
    """The user's line that an error of Elsa comes from, to be appended to its text; empty when none of theirs ran."""
    ours = str(Path(__file__).parents[1]) + os.sep
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(ours) and "importlib" not in frame.filename
    ]
    if not frames or not isinstance(error, ElsaError):
        return ""
    return f"\n  at {frames[-1].filename}, line {frames[-1].lineno}: {frames[-1].line}"


def banner(app: App, runtime: Runtime, topics: Mapping[str, int]) -> dict[str, Any]:
    """What the supervisor shows when the first worker process has loaded the App."""
    from elsa import __version__  # noqa: PLC0415 - avoids an import cycle through the root

    handlers = {handler.name: handler for binding in runtime.bindings for handler in binding.handlers()}
    rows = []
    for handler in handlers.values():
        names = [b.topic for b in runtime.bindings if handler in b.handlers()]
        matched = {
            t: count for b in runtime.bindings if handler in b.handlers() for t, count in topics.items() if b.matches(t)
        }
        rows.append(
            {
                "name": handler.name,
                "topics": names,
                "partitions": sum(matched.values()) or None,
                "group": handler.group,
                "executor": kind_of(handler),
                "concurrency": runtime.concurrency(handler),
                "batch": handler.declared.batch,
                "retry": handler.declared.retry.describe(),
                "ordering": handler.declared.ordering,
            }
        )
    return {
        "app": app.name,
        "brokers": app.settings.brokers,
        "version": __version__,
        "group_protocol": app.settings.group_protocol,
        "handlers": rows,
        "schedules": [{"name": one.name, "text": one.describe()} for one in app.schedules],
        "notes": [note for handler in handlers.values() for note in notes(handler)],
    }


def notes(handler: Handler[Any, Any]) -> list[str]:
    """What a handler's options can not do, or cost; told at the start, before anybody relies on it."""
    found = []
    declared = handler.declared
    if declared.timeout is not None and kind_of(handler) == "threads":
        found.append(
            f"{handler.name}: timeout={declared.timeout:g} s only sets ctx.deadline, a thread cannot be interrupted; "
            'executor="process" can'
        )
    if declared.retry.always_moves and declared.ordering != "none":
        what = "its key" if declared.ordering == "key" else "its partition"
        found.append(f"{handler.name}: order ends at the first retry, what comes behind it in {what} passes it")
    return found


def _for_supervisor(app: App) -> dict[str, Any]:
    from elsa.observe.guard import settings_of  # noqa: PLC0415 - only once

    names = ("stop_timeout", "metrics_port", "http_host", "processes", "name")
    return {name: getattr(app.settings, name) for name in names} | settings_of(app.settings)


def main() -> int:
    """Entry of `python -m elsa.worker.process`."""
    channel = ControlChannel.from_environment()
    if channel is None:
        print(  # noqa: T201 - there is no log yet
            "error: this is the inner half of `elsa worker`; start that one instead", file=sys.stderr
        )
        return exits.USAGE
    return WorkerProcess(channel).run()


if __name__ == "__main__":
    sys.exit(main())
