"""`elsa worker`: reads the options, has a Supervisor run, ends with its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from elsa.cli.parameters import examples
from elsa.cli.worker_options import app_named, reload_dir_option, settings_given, weights_given, worker_options

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "worker",
    short_help="Run the handlers of an app.",
    epilog=examples(
        "elsa worker shop:app",
        "elsa worker shop:app --processes 4 -c 16",
        "elsa worker shop -Q orders,invoices -l debug",
        "elsa worker shop -Q urgent:3,bulk:1",
        "elsa worker shop --burst",
        "elsa worker shop --reload",
    )
    + "\n\n\b\nSignals:\n"
    "  TERM, INT   stop: finish what runs, commit, leave the group; a second one: now\n"
    "  HUP         restart the worker processes one by one, keeping their partitions\n"
    "  USR1        write the stacks of all threads of all processes to stderr",
)
@click.option("-b", "--brokers", help="Kafka's addresses, host:port[,...].")
@worker_options
@click.option("--burst", is_flag=True, help="Stop when everything is handled.")
@click.option("--max-messages", type=click.IntRange(1), help="Stop after so many messages, of all processes together.")
@click.option("--reload", is_flag=True, help="Renew the processes when Python or settings files change.")
@reload_dir_option
def command(
    *,
    target: str | None,
    app: str | None,
    topics: dict[str, float | None],
    exclude: list[str],
    burst: bool,
    max_messages: int | None,
    reload: bool,
    reload_dirs: tuple[Path, ...],
    more: tuple[tuple[str, str], ...],
    **settings: Any,
) -> int:
    """Run the handlers of APP (module:app, or module) until it is told to stop.

    Options here win over the app's own settings, those win over ELSA_* variables and elsa.toml.
    """
    from elsa.cli.supervising import run
    from elsa.worker.spec import WorkerSpec

    if reload_dirs and not reload:
        raise click.UsageError("--reload-dir says what --reload watches: add --reload")
    if reload and (burst or max_messages is not None):
        raise click.UsageError("--reload goes on until it is stopped: give it or --burst or --max-messages, not both")
    spec = WorkerSpec(
        target=app_named(target, app),
        options=settings_given(settings, more),
        topics=list(topics),
        weights=weights_given(topics),
        exclude=exclude,
        burst=burst,
        max_messages=max_messages,
    )
    return run(spec, reload_dirs=reload_dirs if reload else None)
