"""Runs a Supervisor and shows what it reports; called by `elsa worker` and `elsa dev`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elsa.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from elsa.config import Settings
    from elsa.worker.events import Event
    from elsa.worker.spec import WorkerSpec
    from elsa.worker.supervisor import Supervisor

#: files of a change that are named
_NAMED = 3

_log = logging.getLogger("elsa.supervisor")


def run(
    spec: WorkerSpec,
    *,
    reload_dirs: Sequence[Path] | None = None,
    beside: Callable[[Supervisor], AbstractContextManager[object]] | None = None,
) -> int:
    """Run the worker processes of an app until they are told to stop; the exit code.

    With `reload_dirs` the processes are renewed when code in these folders changes; none named: in the current one,
    and in that of the app. `beside` gives what is entered while they run.
    """
    from elsa.config import load
    from elsa.worker.supervisor import Supervisor

    options = dict(spec.options)
    loaded = load(options).settings
    processes = loaded.processes
    if spec.max_messages is not None and spec.max_messages < processes:
        options["processes"] = processes = spec.max_messages  # nobody waits for a share of none
    listener = Listener(loaded)
    supervisor = Supervisor(
        replace(spec, options=options, log_level=loaded.log_level, json_logs=loaded.json_logs),
        processes=processes,
        stop_timeout=loaded.stop_timeout,
        on_event=listener.take,
        waits_for_code=reload_dirs is not None,
    )
    with contextlib.ExitStack() as stack:
        if reload_dirs is not None:
            # before the processes: what changes while they load the app is seen
            stack.enter_context(_watched(spec.target, reload_dirs, supervisor, listener))
        stack.callback(listener.stop)
        supervisor.start()  # before anything that can wait: the processes load the app meanwhile
        listener.attach(supervisor)
        stack.enter_context(_announced(supervisor, listener))
        if beside is not None:
            stack.enter_context(beside(supervisor))
        code = supervisor.run()
    listener.check()
    return code


@contextlib.contextmanager
def _announced(supervisor: Supervisor, listener: Listener) -> Iterator[None]:
    """Tell systemd how the worker is, where it was started by systemd."""
    if "NOTIFY_SOCKET" not in os.environ:
        yield
        return
    from elsa.worker.notify import Announcer, Notifier

    notifier = Notifier.from_environment()
    if notifier is None:
        yield
        return
    with Announcer(supervisor, notifier) as announcer:
        listener.poke = announcer.poke
        yield


@contextlib.contextmanager
def _watched(target: str, folders: Sequence[Path], supervisor: Supervisor, listener: Listener) -> Iterator[None]:
    from elsa.worker.events import Event
    from elsa.worker.reload import FileWatcher, folders_of

    folders = folders or folders_of(target, Path.cwd())
    watcher = FileWatcher(folders, supervisor.reload)
    try:
        watcher.start()
        listener.take(
            Event("watching", logging.INFO, "watching the code", {"folders": [str(each) for each in folders]})
        )
        yield
    finally:
        watcher.stop()


def summary(files: Sequence[str]) -> str:
    """Files as a person reads them: from the current folder, and not too many.

    >>> summary(["/srv/a.py", "/srv/b.py", "/srv/c.py", "/srv/d.py"])
    '/srv/a.py, /srv/b.py and 2 more'
    """
    here = Path.cwd().resolve()
    names = [str(path.relative_to(here) if path.is_relative_to(here) else path) for path in map(Path, files)]
    return (
        ", ".join(names)
        if len(names) <= _NAMED
        else f"{', '.join(names[: _NAMED - 1])} and {len(names) - _NAMED + 1} more"
    )


class Listener:
    """Shows what a supervisor reports, and starts its metrics endpoint; belongs to the main thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._supervisor: Supervisor | None = None
        self._early: list[Event] = []
        self._endpoint: Any = None
        #: the handlers and schedules of the banner that was shown
        self._shown: Any = None
        self._error: ConfigError | None = None
        #: told that something has happened
        self.poke: Callable[[], None] = lambda: None

    def attach(self, supervisor: Supervisor) -> None:
        """Set up the logs, serve metrics, show what was reported until now."""
        from elsa.observe import logs

        logs.setup(self._settings.log_level, self._settings.json_logs)
        self._supervisor = supervisor
        self._serve_as_set(self._settings)
        early, self._early = self._early, []
        for event in early:
            self.take(event)

    def take(self, event: Event) -> None:
        """Called by the supervisor for each event."""
        self.poke()
        if self._supervisor is None:  # the logs are not set up yet
            self._early.append(event)
            return
        if event.kind == "hello":
            self._serve(event.facts["settings"])
            self._show_banner(event.facts["banner"])
        elif event.kind == "reloading":
            # a person has read the names already
            facts = event.facts if self._settings.json_logs else {}
            names = summary(event.facts["files"])
            _log.log(event.level, "reloading: %s changed", names, extra={"event": event.kind, **facts})
        elif event.kind in ("failed", "broken") and not self._settings.json_logs:
            from elsa.cli import output

            output.fail(event.facts["error"])
            if event.kind == "broken":
                output.note("waiting for a change of the code; no message is handled until then, ctrl-C ends it")
        else:
            _log.log(event.level, event.text, extra={"event": event.kind, **event.facts})

    def stop(self) -> None:
        """End the endpoint; idempotent."""
        if self._endpoint is not None:
            self._endpoint.stop()

    def check(self) -> None:
        """Raise what kept the endpoint from serving."""
        if self._error is not None:
            raise self._error

    def _serve_as_set(self, settings: Settings) -> None:
        if settings.metrics_port is not None:
            from elsa.observe.guard import settings_of

            self._serve({"metrics_port": settings.metrics_port, **settings_of(settings)})

    def _serve(self, settings: Mapping[str, Any]) -> None:
        port = settings.get("metrics_port")
        if port is None or self._endpoint is not None or self._error is not None:
            return
        from elsa.observe.guard import Guard
        from elsa.worker.endpoint import Endpoint

        assert self._supervisor is not None
        host = settings.get("http_host", self._settings.http_host)
        try:
            self._endpoint = Endpoint(self._supervisor, host=host, port=port, guard=Guard.of(settings)).start()
        except ConfigError as error:
            self._error = error
            self._supervisor.stop()

    def _show_banner(self, banner: Mapping[str, Any]) -> None:
        """From the first process that has loaded the app, and again from one whose code has others to show."""
        assert self._supervisor is not None
        # how many partitions there are is not always known
        handlers = [{**handler, "partitions": None} for handler in banner.get("handlers", ())]
        handlers += banner.get("schedules", ())
        if handlers == self._shown or self._supervisor.is_stopping:
            return
        self._shown = handlers
        metrics = None if self._endpoint is None else self._endpoint.url
        pid, processes = os.getpid(), self._supervisor.processes
        if self._settings.json_logs:
            # names like `process` are attributes of every log record, so all of it is one field
            facts = {**banner, "pid": pid, "processes": processes, "metrics": metrics}
            _log.info("worker started", extra={"event": "worker_started", "worker": facts})
            return
        from elsa.cli.banner import show

        show(banner, pid=pid, processes=processes, metrics=metrics, is_terminal=sys.stderr.isatty())
