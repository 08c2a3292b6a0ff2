"""`elsa worker`: reads the options, has a Supervisor run, ends with its exit code."""

from __future__ import annotations

from typing import Any

import click

from elsa.cli.parameters import examples
from elsa.cli.worker_options import app_named, settings_given, worker_options


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
@click.option("-b", "--brokers", help="Kafka's addresses, host:port[,...].")
@worker_options
@click.option("--burst", is_flag=True, help="Stop when everything is handled.")
@click.option("--max-messages", type=click.IntRange(1), help="Stop after so many messages, of all processes together.")
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
    from elsa.cli.supervising import run

    wanted, options = app_named(target, app), settings_given(settings, more)
    return run(wanted, options, topics=topics, exclude=exclude, burst=burst, max_messages=max_messages)
