"""`elsa control`: steers the running workers: pause, resume, rate, stacks, loglevel, quiet, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from elsa import exits
from elsa.cli import output
from elsa.cli.addressing import addressed
from elsa.cli.parameters import examples
from elsa.control.protocol import LEVELS
from elsa.units import rate as rate_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.cli.addressing import Workers
    from elsa.control.client import Answers


@click.group(
    "control",
    short_help="Steer the running workers: pause, resume, rate, quiet, stop.",
    epilog=examples(
        "elsa control pause -A shop:app --handler shop.bill",
        "elsa control pause --name shop --topic orders --partition 3",
        "elsa control resume --name shop --all",
        "elsa control rate shop.bill 10/s --name shop",
        "elsa control loglevel debug --name shop --worker 0",
        "elsa control stop --name shop --worker shop-host-0 --yes",
    ),
)
def command() -> None:
    """Steer the running workers of an app, wherever they run. What is set holds until the worker process ends."""


def _show(workers: Workers, answers: Answers, text: Mapping[str, str], *, as_json: bool) -> int | None:
    """One line for each worker, or the rows as JSON."""
    if as_json:
        output.document([{"worker": name, **result} for name, result in answers.results.items()])
    else:
        for name in answers.results:
            output.say(f"{name}: {text[name]}")
    return workers.ending(answers)


def _pause_or_resume(workers: Workers, name: str, *, everything: bool, as_json: bool) -> int | None:
    if workers.is_everybody and not everything:
        raise click.UsageError(f"say what to {name}: --handler, --group, --topic, or --all")
    answers = workers.call(name)
    texts = {worker: _places(result) for worker, result in answers.results.items()}
    return _show(workers, answers, {w: f"{name}d {text}" for w, text in texts.items()}, as_json=as_json)


def _places(result: Mapping[str, Any]) -> str:
    """The partitions that a worker named."""
    places = [f"{place['topic']}[{place['partition']}]" for place in result["partitions"]]
    text = ", ".join(places) or "nothing that it has now"
    return text + (f" (not confirmed yet by {', '.join(result['late'])})" if result["late"] else "")


@command.command("pause", short_help="Begin no more messages of a handler, group, topic or partition.")
@click.option("--all", "everything", is_flag=True, help="Everything that the workers handle.")
@addressed()
def pause(*, workers: Workers, everything: bool, as_json: bool) -> int | None:
    """Begin no more messages of what is named; what runs goes on, and membership, commits and the rest as well.

    It holds for partitions that come to a worker process later, and until `resume` or the end of the process.
    """
    return _pause_or_resume(workers, "pause", everything=everything, as_json=as_json)


@command.command("resume", short_help="Go on with what was paused.")
@click.option("--all", "everything", is_flag=True, help="Everything that was paused.")
@addressed()
def resume(*, workers: Workers, everything: bool, as_json: bool) -> int | None:
    """Go on with what was paused; a part of it may be named."""
    return _pause_or_resume(workers, "resume", everything=everything, as_json=as_json)


@command.command("rate", short_help="Change how many messages a second a handler may start.")
@click.argument("handler")
@click.argument("rate")
@addressed(handler=False)
def rate(*, handler: str, rate: str, workers: Workers, as_json: bool) -> int | None:
    """Let HANDLER start RATE messages (100/s, 10/m) in all of its group, shared out by partitions; `none`: any number.

    Tell it to all workers of the group: each has its part of the rate by its partitions.
    """
    import dataclasses

    import msgspec

    per = rate if rate == "none" or "/" in rate else f"{rate}/s"
    try:
        if per != "none":
            rate_of(per)
    except ValueError as error:
        raise click.UsageError(f"{rate!r} is not {error}, or none") from None
    meant = dataclasses.replace(workers, target=msgspec.structs.replace(workers.target, handler=handler))
    answers = meant.call("rate", {"rate": per})
    texts = dict.fromkeys(answers.results, f"{handler} now at {per}")
    return _show(meant, answers, texts, as_json=as_json)


@command.command("stacks", short_help="Show where every thread and every waiting call stands.")
@addressed(handler=False)
def stacks(*, workers: Workers, as_json: bool) -> int | None:
    """Show the stacks of all threads of the workers, and of the calls that wait on the event loop."""
    answers = workers.call("stacks")
    if as_json:
        output.document([{"worker": name, "stacks": text} for name, text in answers.results.items()])
        return workers.ending(answers)
    for name, text in answers.results.items():
        output.note(f"--- {name}")
        output.say(text)
    return workers.ending(answers)


@command.command("loglevel", short_help="Log more or less.")
@click.argument("level", type=click.Choice(LEVELS))
@click.option("--logger", default="", help="Of this logger alone, as elsa.kafka; else of all without a level.")
@addressed(handler=False)
def loglevel(*, level: str, logger: str, workers: Workers, as_json: bool) -> int | None:
    """Have the workers log from LEVEL on."""
    answers = workers.call("loglevel", {"level": level, "logger": logger})
    texts = {name: f"{each['logger']} logs {level}, before {each['before']}" for name, each in answers.results.items()}
    return _show(workers, answers, texts, as_json=as_json)


@command.command("quiet", short_help="Take no more work; what runs goes on.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@addressed(handler=False)
def quiet(*, yes: bool, workers: Workers, as_json: bool) -> int | None:
    """Take no more messages, in all processes of the `elsa worker` that are meant; only a restart ends that."""
    return _end(workers, "quiet", "takes no more", yes=yes, as_json=as_json)


@command.command("stop", short_help="Stop in order, as by TERM.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@addressed(handler=False)
def stop(*, yes: bool, workers: Workers, as_json: bool) -> int | None:
    """Stop the `elsa worker` that are meant, with all of their processes, as TERM does: finish, commit, leave."""
    return _end(workers, "stop", "stops", yes=yes, as_json=as_json)


def _end(workers: Workers, name: str, text: str, *, yes: bool, as_json: bool) -> int | None:
    who = workers.target.worker or f"all of {workers.settings.name}"
    if not output.confirmed(f"Tell the workers ({who}) to {name if name == 'stop' else 'take no more work'}?", yes=yes):
        return exits.FAILED
    answers = workers.call(name)
    texts = {worker: f"{text}, {result['running']} calls are running" for worker, result in answers.results.items()}
    return _show(workers, answers, texts, as_json=as_json)
