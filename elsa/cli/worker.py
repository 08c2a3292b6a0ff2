"""`elsa worker`: reads the options, runs a Supervisor, shows what it reports, ends with its exit code."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from elsa.cli import set_debugging
from elsa.cli.parameters import Pair, examples
from elsa.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from elsa.config import Settings
    from elsa.worker.events import Event
    from elsa.worker.supervisor import Supervisor

_log = logging.getLogger("elsa.supervisor")


def _names(_context: click.Context, _parameter: click.Parameter, values: Iterable[str]) -> list[str]:
    """Comma lists, repeated, as one list without doubles."""
    return list(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))


@click.command(
    "worker",
    short_help="Run the handlers of an app.",
    epilog=examples(
        "elsa worker shop:app",
        "elsa worker shop:app --processes 4 -c 16",
        "elsa worker shop -Q orders,invoices -l debug",
        "elsa worker shop --burst",
    )
    + "\n\n\b\nSignals:\n"
    "  TERM, INT   stop: finish what runs, commit, leave the group; a second one: now\n"
    "  HUP         restart the worker processes one by one, keeping their partitions\n"
    "  USR1        write the stacks of all threads of all processes to stderr",
)
@click.argument("target", required=False, metavar="[APP]")
@click.option("-A", "--app", envvar="ELSA_APP", show_envvar=True, help="The app, when APP is not given (module:app).")
@click.option("-b", "--brokers", help="Kafka's addresses, host:port[,...].")
@click.option("-c", "--concurrency", type=click.IntRange(1), help="Handlers that run at once, per process.")
@click.option(
    "-l",
    "--loglevel",
    "--log-level",
    "log_level",
    type=click.Choice(["debug", "info", "warning", "error", "critical"], case_sensitive=False),
    help="From which level on to log.",
)
@click.option("-Q", "--topics", multiple=True, callback=_names, help="Only these topics: a,b (may be repeated).")
@click.option("-X", "--exclude", multiple=True, callback=_names, help="All topics but these: a,b (may be repeated).")
@click.option("--processes", type=click.IntRange(1), help="Worker processes.")
@click.option("--burst", is_flag=True, help="Stop when everything is handled.")
@click.option("--max-messages", type=click.IntRange(1), help="Stop after so many messages, of all processes together.")
@click.option("--drain-timeout", help="How long running handlers may finish when a partition goes (20s).")
@click.option("--stop-timeout", help="How long a stop may take before it is forced (25s).")
@click.option("--json-logs", is_flag=True, default=None, help="Log one JSON object a line, and no banner.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve metrics and probes there; 0 takes any port.")
@click.option("--http-host", help="Address of the metrics port (127.0.0.1).")
@click.option("--group-protocol", type=click.Choice(["classic", "consumer"]), help="How groups are joined.")
@click.option("--set", "more", type=Pair(), multiple=True, metavar="NAME=VALUE", help="Any other setting.")
@click.option("--debug", is_flag=True, expose_value=False, callback=set_debugging, help="Show tracebacks.")
def command(
    *,
    target: str | None,
    app: str | None,
    topics: list[str],
    exclude: list[str],
    burst: bool,
    max_messages: int | None,
    more: tuple[tuple[str, str], ...],
    **settings: Any,
) -> int:
    """Run the handlers of APP (module:app, or module) until it is told to stop.

    Options here win over the app's own settings, those win over ELSA_* variables and elsa.toml.
    """
    from elsa.config import load
    from elsa.worker.spec import WorkerSpec
    from elsa.worker.supervisor import Supervisor

    given = click.get_current_context().get_parameter_source("app")
    if target and app and given is ParameterSource.COMMANDLINE and target != app:
        raise click.UsageError(f"{target} and -A {app} are two apps: a worker runs one")
    wanted = target or app
    if wanted is None:
        raise click.UsageError("which app? `elsa worker module:app`, -A module:app or ELSA_APP=module:app")
    options = {name: value for name, value in settings.items() if value is not None} | dict(more)
    loaded = load(options).settings
    processes = loaded.processes
    if max_messages is not None and max_messages < processes:
        options["processes"] = processes = max_messages  # nobody waits for a share of none
    listener = Listener(loaded)
    supervisor = Supervisor(
        WorkerSpec(
            target=wanted,
            options=options,
            topics=topics,
            exclude=exclude,
            burst=burst,
            max_messages=max_messages,
            log_level=loaded.log_level,
            json_logs=loaded.json_logs,
        ),
        processes=processes,
        stop_timeout=loaded.stop_timeout,
        on_event=listener.take,
    )
    supervisor.start()  # before anything that can wait: the processes load the app meanwhile
    listener.attach(supervisor)
    code = supervisor.run()
    return listener.close(code)


class Listener:
    """Shows what a supervisor reports, and starts its metrics endpoint; belongs to the main thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._supervisor: Supervisor | None = None
        self._early: list[Event] = []
        self._endpoint: Any = None
        self._is_banner_shown = False
        self._error: ConfigError | None = None

    def attach(self, supervisor: Supervisor) -> None:
        """Set up the logs, serve metrics, show what was reported until now."""
        from elsa.observe import logs

        logs.setup(self._settings.log_level, self._settings.json_logs)
        self._supervisor = supervisor
        self._serve(self._settings.http_host, self._settings.metrics_port)
        early, self._early = self._early, []
        for event in early:
            self.take(event)

    def take(self, event: Event) -> None:
        """Called by the supervisor for each event."""
        if self._supervisor is None:  # the logs are not set up yet
            self._early.append(event)
            return
        if event.kind == "hello":
            settings = event.facts["settings"]
            self._serve(settings.get("http_host", self._settings.http_host), settings.get("metrics_port"))
            self._show_banner(event.facts["banner"])
        elif event.kind == "failed" and not self._settings.json_logs:
            from elsa.cli.output import fail

            fail(event.facts["error"])
        else:
            _log.log(event.level, event.text, extra={"event": event.kind, **event.facts})

    def close(self, code: int) -> int:
        """End the endpoint; the exit code, or what kept the endpoint from serving."""
        if self._endpoint is not None:
            self._endpoint.stop()
        if self._error is not None:
            raise self._error
        return code

    def _serve(self, host: str, port: int | None) -> None:
        if port is None or self._endpoint is not None or self._error is not None:
            return
        from elsa.worker.endpoint import Endpoint

        assert self._supervisor is not None
        try:
            self._endpoint = Endpoint(self._supervisor, host=host, port=port).start()
        except ConfigError as error:
            self._error = error
            self._supervisor.stop()

    def _show_banner(self, banner: Mapping[str, Any]) -> None:
        """Once, from the first process that has loaded the app."""
        assert self._supervisor is not None
        if self._is_banner_shown or self._supervisor.is_stopping:
            return
        self._is_banner_shown = True
        metrics = None if self._endpoint is None else self._endpoint.url
        pid, processes = os.getpid(), self._supervisor.processes
        if self._settings.json_logs:
            # names like `process` are attributes of every log record, so all of it is one field
            facts = {**banner, "pid": pid, "processes": processes, "metrics": metrics}
            _log.info("worker started", extra={"event": "worker_started", "worker": facts})
            return
        from elsa.cli.banner import show

        show(banner, pid=pid, processes=processes, metrics=metrics, is_terminal=sys.stderr.isatty())
