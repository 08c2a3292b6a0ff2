"""`elsa demo`: real flights through a real Kafka and a real worker, with a live table."""

from __future__ import annotations

import logging

import click

from elsa import exits
from elsa.cli.parameters import examples

_EPILOG = examples(
    "elsa demo                            2,000 flights a second until ctrl-C",
    "elsa demo --fast --processes 2       as fast as it goes, on two processes",
    "elsa demo --messages 10000 --json    end after 10,000 flights, for programs",
)


@click.command("demo", short_help="Watch a worker on real Kafka and real data, in one command.", epilog=_EPILOG)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), default=2_000, show_default=True, help="Flights a second."
)
@click.option("--fast", is_flag=True, help="Publish as fast as Kafka takes them.")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Worker processes.")
@click.option("--messages", type=click.IntRange(min=1), help="End when that many flights are counted.")
@click.option("--for", "seconds", type=click.FloatRange(min=0, min_open=True), help="End after that many seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@click.pass_context
def command(
    context: click.Context,
    *,
    rate: float,
    fast: bool,
    processes: int,
    messages: int | None,
    seconds: float | None,
    as_json: bool,
) -> int:
    """Watch a worker on real Kafka and real data: the 336,776 flights that left New York in 2013.

    Starts a Kafka, publishes the flights by aircraft, runs `elsa worker` over them and shows what it counts.
    Ctrl-C ends all of it. The first run fetches Kafka (44 MB), once for all projects.
    """
    from elsa.cli.demo_views import choose_view
    from elsa.cli.interrupts import interrupted_by_signals
    from elsa.demo.run import Plan, run

    if fast and context.get_parameter_source("rate") is not click.core.ParameterSource.DEFAULT:
        raise click.UsageError("--fast has no rate: give --rate or --fast, not both")
    # what goes wrong for good is raised; the rest would tear the table apart
    logging.getLogger("elsa").addHandler(logging.NullHandler())
    plan = Plan(rate=None if fast else rate, processes=processes, messages=messages, seconds=seconds)
    with choose_view(as_json=as_json) as view, interrupted_by_signals():
        try:
            run(plan, view)
        except KeyboardInterrupt:
            # ctrl-C is how a running demo ends
            return exits.OK if view.is_started else exits.INTERRUPTED
    return exits.OK
