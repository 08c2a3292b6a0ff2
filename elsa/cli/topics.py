"""`elsa topics`: lists, creates, describes, alters and deletes topics."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from elsa.cli import output
from elsa.cli.hints import near_names
from elsa.cli.parameters import Pair, Seconds, common, examples, settings_of

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.topics import Topics


def _topics(settings: Settings) -> Topics:
    from elsa.topics import Topics

    return Topics(settings)


@click.group(
    "topics",
    short_help="List, create, describe, alter and delete topics.",
    epilog=examples(
        "elsa topics list",
        "elsa topics create orders --partitions 6 --config retention.ms=604800000",
        "elsa topics describe orders",
        "elsa topics alter orders retention.ms=86400000",
        "elsa topics add-partitions orders 12",
        "elsa topics delete orders --yes",
    ),
)
def command() -> None:
    """List, create, describe, alter and delete topics."""


@command.command("list", short_help="List topics with their partition counts.")
@click.option("--internal", is_flag=True, help="Kafka's own topics too.")
@common(json=True)
def list_topics(*, internal: bool, app: str | None, brokers: str | None, as_json: bool) -> None:
    """List topics with their partition counts."""
    found = sorted(_topics(settings_of(app, brokers)).list(internal=internal).items())
    if as_json:
        output.document([{"topic": name, "partitions": partitions} for name, partitions in found])
    else:
        output.table(("topic", "partitions"), found, numbers=("partitions",))


@command.command("create", short_help="Create a topic and wait until it is usable.")
@click.argument("name")
@click.option("-p", "--partitions", type=click.IntRange(min=1), help="How many. [default: default_partitions]")
@click.option("-r", "--replicas", type=click.IntRange(min=1), help="Copies of each. [default: replication]")
@click.option("-c", "--config", type=Pair(), multiple=True, help="A setting of the topic; repeatable.")
@click.option("--if-not-exists", is_flag=True, help="An existing topic is no error.")
@click.option(
    "--timeout", type=Seconds(), default="10s", show_default=True, help="How long to wait until it is usable."
)
@common()
def create(
    *,
    name: str,
    partitions: int | None,
    replicas: int | None,
    config: tuple[tuple[str, str], ...],
    if_not_exists: bool,
    timeout: float,
    app: str | None,
    brokers: str | None,
) -> None:
    """Create the topic NAME and wait until it is usable."""
    settings = settings_of(app, brokers)
    partitions = partitions or settings.default_partitions
    topics = _topics(settings)
    if if_not_exists and topics.exists(name):
        output.note(f"topic {name} exists already")
        return
    topics.create(
        name,
        partitions=partitions,
        replicas=replicas or settings.replication,
        config=dict(config) or None,
        timeout=timeout,
        exist_ok=if_not_exists,
    )
    output.say(f"created {name} with {partitions} partitions")


@command.command("delete", short_help="Delete topics with all their messages.")
@click.argument("names", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--missing-ok", is_flag=True, help="A topic that does not exist is no error.")
@common()
def delete(*, names: tuple[str, ...], yes: bool, missing_ok: bool, app: str | None, brokers: str | None) -> int | None:
    """Delete the topics NAMES with all their messages."""
    from elsa import exits
    from elsa.errors import UnknownTopic

    settings = settings_of(app, brokers)
    topics = _topics(settings)
    with near_names(settings, *names):
        missing = [name for name in names if not topics.exists(name)]
        if missing and not missing_ok:
            raise UnknownTopic(f"there is no topic {missing[0]!r}; nothing was deleted", topic=missing[0])
    there = [name for name in names if name not in missing]
    if there and not output.confirmed(f"Delete {', '.join(there)} with all messages?", yes=yes):
        return exits.FAILED
    for name in there:
        topics.delete(name, missing_ok=missing_ok)
        output.say(f"deleted {name}")
    for name in missing:
        output.note(f"there was no topic {name}")
    return None


@command.command("describe", short_help="Show a topic's partitions, offsets and settings.")
@click.argument("name")
@common(json=True)
def describe(*, name: str, app: str | None, brokers: str | None, as_json: bool) -> None:
    """Show the partitions of the topic NAME with leader, replicas and offsets, and its settings."""
    settings = settings_of(app, brokers)
    topics = _topics(settings)
    with near_names(settings, name):
        found = topics.describe(name)
        ends = topics.watermarks(name)
    partitions = [
        {**dataclasses.asdict(partition), "low": ends[partition.partition][0], "high": ends[partition.partition][1]}
        for partition in found.partitions
    ]
    if as_json:
        output.document({"topic": name, "partitions": partitions, "config": dict(found.config)})
        return
    columns = ("partition", "leader", "replicas", "isr", "low", "high")
    rows = [
        [",".join(map(str, row[c])) if isinstance(row[c], list | tuple) else row[c] for c in columns]
        for row in partitions
    ]
    output.table(columns, rows, numbers=("partition", "leader", "low", "high"))
    output.say("")
    output.table(("setting", "value"), sorted(found.config.items()))


@command.command("alter", short_help="Change settings of a topic.")
@click.argument("name")
@click.argument("config", nargs=-1, required=True, type=Pair(), metavar="SETTING=VALUE...")
@common()
def alter(*, name: str, config: tuple[tuple[str, str], ...], app: str | None, brokers: str | None) -> None:
    """Change settings of the topic NAME; the others stay as they are. SETTING= goes back to the default."""
    settings = settings_of(app, brokers)
    with near_names(settings, name):
        _topics(settings).alter(name, {key: value or None for key, value in config})
    output.say(f"altered {name}: {', '.join(f'{key}={value}' for key, value in config)}")


@command.command("add-partitions", short_help="Raise the number of partitions of a topic.")
@click.argument("name")
@click.argument("total", type=click.IntRange(min=1))
@common()
def add_partitions(*, name: str, total: int, app: str | None, brokers: str | None) -> None:
    """Raise the number of partitions of the topic NAME to TOTAL.

    It can not be lowered again, and keys may move to other partitions: their order across that moment is lost.
    """
    settings = settings_of(app, brokers)
    with near_names(settings, name):
        _topics(settings).add_partitions(name, total)
    output.say(f"{name} has {total} partitions")
