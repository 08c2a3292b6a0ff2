"""`elsa fetch`: reads messages of a topic without a consumer group."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

import click

from elsa.cli import output
from elsa.cli.parameters import Place, common, examples, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.message import Message


@click.command(
    "fetch",
    short_help="Read messages of a topic, without a consumer group.",
    epilog=examples(
        "elsa fetch orders                             from the beginning to the end",
        "elsa fetch orders --follow                    what arrives from now on",
        "elsa fetch orders --start -1h --search refund",
        "elsa fetch orders -p 2 --offset 1000 -n 10 --json",
        "elsa fetch orders --start 2026-01-31T08:00 --end 2026-01-31T09:00 --key ann",
    ),
)
@click.argument("topic")
@click.option("-f", "--follow", is_flag=True, help="Go on with what arrives, until ctrl-C.")
@click.option(
    "--start",
    "--offset",
    "start",
    type=Place(),
    help="Where to begin: earliest, latest, an offset, a time, or ago (-1h). [default: earliest; --follow: latest]",
)
@click.option("--end", type=Place(), help="Where to stop, not included; as --start. [default: the end as it is now]")
@click.option(
    "-p", "--partition", "partitions", type=click.IntRange(min=0), multiple=True, help="Only these; repeatable."
)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Stop after so many messages.")
@click.option("--key", help="Only messages with exactly this key.")
@click.option("--search", "text", help="Only messages whose value contains this text.")
@click.option("--values", is_flag=True, help="Print the values alone, byte for byte, one a line.")
@common(json=True)
def command(
    *,
    topic: str,
    follow: bool,
    start: Any,
    end: Any,
    partitions: tuple[int, ...],
    limit: int | None,
    key: str | None,
    text: str | None,
    values: bool,
    app: str | None,
    brokers: str | None,
    as_json: bool,
) -> None:
    """Read messages of TOPIC up to its end, and print them.

    No consumer group is joined, so no offset changes. --json prints one object a line, which
    `elsa produce --json-lines` takes; bytes that are not UTF-8 are {"$base64": "..."}. A time without a zone is local.
    """
    from elsa.cli.hints import near_names
    from elsa.fetcher import Fetcher

    if follow and end is not None:
        raise click.UsageError("--follow has no --end")
    if values and as_json:
        raise click.UsageError("give one of --values and --json")
    settings = settings_of(app, brokers)
    fetcher = Fetcher(settings)
    chosen = list(partitions) or None
    with near_names(settings, topic):
        if follow:
            found = fetcher.follow(topic, start="latest" if start is None else start, partitions=chosen)
        else:
            bounds = {name: bound for name, bound in (("start", start), ("end", end)) if bound is not None}
            found = fetcher.stream(topic, partitions=chosen, **bounds)
        matching = filter(_predicate(key, text), found)
        _print(itertools.islice(matching, limit), _printer(values=values, as_json=as_json), is_live=follow)


def _predicate(key: str | None, text: str | None) -> Callable[[Message], bool]:
    wanted_key = None if key is None else key.encode()
    wanted_text = None if text is None else text.encode()

    def matches(message: Message) -> bool:
        return (wanted_key is None or message.key == wanted_key) and (
            wanted_text is None or (message.value is not None and wanted_text in message.value)
        )

    return matches


def _printer(*, values: bool, as_json: bool) -> Callable[[Message], None]:
    from elsa.cli.lines import to_columns, to_json

    if values:
        return lambda message: output.raw((message.value or b"") + b"\n")
    if as_json:
        return lambda message: output.line(to_json(message), flush=False)
    return lambda message: output.columns(to_columns(message))


def _print(messages: Iterator[Message], show: Callable[[Message], None], *, is_live: bool) -> None:
    count = 0
    for message in messages:
        show(message)
        count += 1
        if is_live:
            sys.stdout.flush()
    if output.is_terminal() and not count:
        output.note("no messages")
