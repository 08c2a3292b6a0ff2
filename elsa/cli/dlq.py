"""`elsa dlq`: lists, shows, replays and drops dead letters."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import click

from elsa import exits
from elsa.cli import output
from elsa.cli.hints import near_names
from elsa.cli.parameters import LetterPlace, Moment, Pair, Rate, common, examples, settings_of
from elsa.errors import UnknownTopic

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.config import Settings
    from elsa.dead_letters import DeadLetters, Filters

#: rows of a table, unless --limit says otherwise
_MOST_ROWS = 100


def _filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say which dead letters are meant (see `_take`)."""
    for option in (
        click.option("--offset", "offsets", type=LetterPlace(), multiple=True, help="Only this one; repeatable."),
        click.option("--until", type=Moment(), help="Only those that died before."),
        click.option("--since", type=Moment(), help="Only those that died then or later: a time, or ago (-1h)."),
        click.option("--key", help="Only those with exactly this key."),
        click.option("--reason", "reasons", multiple=True, help="Only those given up for this reason; repeatable."),
        click.option("--error", "errors", multiple=True, help="Only those of this error type; repeatable."),
        click.option("--handler", "handlers", multiple=True, help="Only those of this handler; repeatable."),
    ):
        function = option(function)
    return function


def _take(options: dict[str, Any]) -> Filters:
    """The filters among a command's options, which are taken out of them."""
    return {
        "handler": options.pop("handlers"),
        "error": options.pop("errors"),
        "reason": options.pop("reasons"),
        "key": options.pop("key"),
        "since": options.pop("since"),
        "until": options.pop("until"),
        "offsets": options.pop("offsets") or None,
    }


def _letters(topic: str, settings: Settings, app: str | None) -> DeadLetters:
    from elsa.dead_letters import open_topic
    from elsa.loading import load_app

    if app is None:
        return open_topic(settings, topic)
    from elsa.observe import tracing

    loaded = load_app(app)
    tracing.watch(loaded)
    return open_topic(settings, topic, loaded.registry, trace_send=loaded.observer.trace_send)


@click.group(
    "dlq",
    short_help="List, show, replay and drop dead letters.",
    epilog=examples(
        "elsa dlq list",
        "elsa dlq list orders.billing.dlq --error TimeoutError --since -1h",
        "elsa dlq show orders.billing.dlq 0:17",
        "elsa dlq replay orders.billing.dlq --handler bill --dry-run",
        "elsa dlq replay orders.billing.dlq --rate 100/s",
        "elsa dlq drop orders.billing.dlq --offset 0:17 --yes",
    ),
)
def command() -> None:
    """List, show, replay and drop dead letters: the messages that a handler has given up.

    They lie on {topic}.{group}.dlq. One is open until it was replayed or dropped.
    """


@command.command("list", short_help="List dead-letter topics, or the dead letters of one.")
@click.argument("topic", required=False)
@_filters
@click.option("-a", "--all", "handled", is_flag=True, help="Also those that were replayed or dropped.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=1),
    help=f"Show so many at most. [default: {_MOST_ROWS}; --json: all]",
)
@common(json=True)
def list_letters(
    *,
    topic: str | None,
    handled: bool,
    limit: int | None,
    app: str | None,
    brokers: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """List the open dead letters of TOPIC, or count those of every dead-letter topic (with --app: of the app).

    Names of handlers and errors may be given without their module. --json prints one object a line.
    """
    settings = settings_of(app, brokers)
    wanted = _take(options)
    if topic is None:
        for option, value in (("--limit", limit), ("--offset", wanted["offsets"])):
            if value is not None:
                raise click.UsageError(f"{option} goes with a TOPIC")
        _list_topics(settings, app, wanted, handled=handled, as_json=as_json)
        return
    from elsa.cli import letters

    with near_names(settings, topic):
        there = _letters(topic, settings, app)
        found = there.list(handled=handled, **wanted)
        if as_json:
            for letter in itertools.islice(found, limit):
                output.line(letters.as_json(letter), flush=False)
            _doubt_reasons(there, wanted)
            return
        most = limit or _MOST_ROWS
        shown = list(itertools.islice(found, most + 1))
    columns = (*letters.COLUMNS, "handled") if handled else letters.COLUMNS
    rows = [[*letters.row(one), one.is_handled] if handled else letters.row(one) for one in shown[:most]]
    output.table(columns, rows, numbers=("attempts",))
    if len(shown) > most:
        output.note(f"there are more than these {most}: --limit shows more, or name them by filters")
    elif not shown:
        output.note("no dead letters" if handled else "no open dead letters (--all shows those that were handled)")
    _doubt_reasons(there, wanted)


def _doubt_reasons(there: DeadLetters, wanted: Filters) -> None:
    """A note of reasons that are asked for, and that nothing on the topic was given up for."""
    from elsa.cli.lines import visible

    if unknown := _unknown_reasons(wanted):
        found = there.summary(handled=True).reasons
        has = (
            ", ".join(f"{visible(reason.encode())} ({count})" for reason, count in found.most_common()) or "none at all"
        )
        for reason in unknown:
            if reason not in found:
                output.note(f"{there.topic} has no dead letter with the reason {reason!r}; it has {has}")


def _unknown_reasons(wanted: Filters) -> list[str]:
    from elsa.dead_letters.letter import REASONS

    return [reason for reason in wanted["reason"] if reason not in REASONS]


def _list_topics(settings: Settings, app: str | None, wanted: Filters, *, handled: bool, as_json: bool) -> None:
    from elsa.cli import letters
    from elsa.dead_letters import topics
    from elsa.dead_letters.letter import REASONS
    from elsa.loading import load_app
    from elsa.topics import Topics

    there = Topics(settings).list(internal=True)
    if app is None:
        names = topics.of_cluster(there)
    else:
        loaded = load_app(app)
        names = topics.of_app(loaded.name, loaded.registry.bindings(), there)
    found = []
    for name in names:
        # it may have been deleted since
        with contextlib.suppress(UnknownTopic):
            found.append(_letters(name, settings, app).summary(handled=handled, **wanted))
    for reason in _unknown_reasons(wanted):
        if all(reason not in one.reasons for one in found):
            output.note(f"nothing was given up for the reason {reason!r}; Elsa's are {', '.join(REASONS)}")
    if as_json:
        for one in found:
            output.line(letters.summary_json(one), flush=False)
        return
    columns = [name for name in letters.SUMMARY_COLUMNS if handled or name != "handled"]
    rows = [dict(zip(letters.SUMMARY_COLUMNS, letters.summary_row(one), strict=True)) for one in found]
    output.table(columns, [[one[name] for name in columns] for one in rows], numbers=("open", "handled"))
    if not found:
        output.note("there are no dead-letter topics")


@command.command("show", short_help="Show one dead letter with its headers and traceback.")
@click.argument("topic")
@click.argument("which")
@common(json=True)
def show(*, topic: str, which: str, app: str | None, brokers: str | None, as_json: bool) -> None:
    """Show the dead letter WHICH of TOPIC: by partition:offset as listed, by its origin, or by its elsa-id."""
    from elsa.cli import letters

    settings = settings_of(app, brokers)
    with near_names(settings, topic):
        letter = _letters(topic, settings, app).get(which)
    if as_json:
        output.document(letters.as_json(letter))
    else:
        letters.show(letter)


@command.command("replay", short_help="Send dead letters back to the group that failed.")
@click.argument("topic")
@_filters
@click.option("--to", help="Send them to this topic instead; everybody who reads it gets them.")
@click.option("--group", help="The group that failed, where neither the topic's name nor the app tells it.")
@click.option("-H", "--header", "set_headers", type=Pair(), multiple=True, help="Set a header; repeatable.")
@click.option("--drop-header", "drop_headers", multiple=True, help="Leave a header out; repeatable.")
@click.option("--again", is_flag=True, help="Also those that were replayed or dropped before.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Stop after so many.")
@click.option("--rate", type=Rate(), help="So many a second at most: 100, 100/s, 10/m.")
@click.option("--create/--no-create", default=None, help="Make missing topics of Elsa's. [default: as create_topics]")
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@common(json=True)
def replay(*, topic: str, app: str | None, brokers: str | None, as_json: bool, **options: Any) -> int:
    """Send the open dead letters of TOPIC back to the group that failed, through its retry topic.

    Each is sent once, however often this is interrupted and said again. Nobody else who reads the source gets them.
    """
    return _handle("replay", topic, app, brokers, options, as_json=as_json)


@command.command("drop", short_help="Say of dead letters that nobody wants them back.")
@click.argument("topic")
@_filters
@click.option("--purge", is_flag=True, help="Delete for good what lies before the first open one of each partition.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Stop after so many.")
@click.option("--create/--no-create", default=None, help="Make missing topics of Elsa's. [default: as create_topics]")
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@common(json=True)
def drop(*, topic: str, yes: bool, app: str | None, brokers: str | None, as_json: bool, **options: Any) -> int:
    """Note of the open dead letters of TOPIC that nobody wants them back; they lie there until their time is over."""
    if not (yes or options["dry_run"]):
        settings = settings_of(app, brokers)
        with near_names(settings, topic):
            meant = _letters(topic, settings, app).drop(limit=options["limit"], dry_run=True, **_take(dict(options)))
        purge = ", and delete for good what is handled" if options["purge"] else ""
        if not output.confirmed(f"Drop {meant.done} dead letters of {topic}{purge}?", yes=False):
            return exits.FAILED
    return _handle("drop", topic, app, brokers, options, as_json=as_json)


def _handle(
    verb: str, topic: str, app: str | None, brokers: str | None, options: dict[str, Any], *, as_json: bool
) -> int:
    from elsa.cli import letters
    from elsa.cli.interrupts import stopped_by_signals

    settings = settings_of(app, brokers)
    wanted = _take(options)
    limit = options["limit"]
    with near_names(settings, topic), letters.progress(verb, limit) as tell, stopped_by_signals() as stop:
        there = _letters(topic, settings, app)
        try:
            result = getattr(there, verb)(**options, **wanted, stop=stop, progress=tell)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    _doubt_reasons(there, wanted)
    return letters.report(topic, verb, result, as_json=as_json)
