"""`elsa groups`: lists and describes consumer groups, shows their lag, resets and deletes them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from elsa import exits
from elsa.cli import output
from elsa.cli.hints import near_names
from elsa.cli.parameters import Place, common, examples, settings_of

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.groups import GroupDescription, Groups, OffsetChange


def _groups(settings: Settings) -> Groups:
    from elsa.groups import Groups

    return Groups(settings)


@click.group(
    "groups",
    short_help="List and describe consumer groups, their lag and offsets.",
    epilog=examples(
        "elsa groups list",
        "elsa groups lag billing",
        "elsa groups reset billing --to earliest --dry-run",
        "elsa groups reset billing --to 2026-01-31T08:00 --topic orders --yes",
        "elsa groups delete billing",
    ),
)
def command() -> None:
    """List and describe consumer groups, show their lag, reset and delete them."""


@command.command("list", short_help="List consumer groups with their state.")
@common(json=True)
def list_groups(*, app: str | None, brokers: str | None, as_json: bool) -> None:
    """List consumer groups with their state."""
    found = [dataclasses.asdict(group) for group in _groups(settings_of(app, brokers)).list()]
    if as_json:
        output.document(found)
    else:
        columns = ("name", "state", "protocol")
        output.table(columns, [[group.get(column) for column in columns] for group in found])


@command.command("describe", short_help="Show a group's state, members and their partitions.")
@click.argument("name")
@common(json=True)
def describe(*, name: str, app: str | None, brokers: str | None, as_json: bool) -> None:
    """Show the state of the group NAME, its members and what is assigned to each."""
    settings = settings_of(app, brokers)
    with near_names(settings, name):
        found = _groups(settings).describe(name)
    if as_json:
        output.document(_plain(found))
        return
    facts = ("state", "protocol", "assignor", "coordinator")
    output.table(("group", name), [[fact, getattr(found, fact)] for fact in facts])
    output.say("")
    columns = ("member", "instance", "client", "host")
    rows = [
        [*(getattr(member, column) for column in columns), ", ".join(map(str, member.partitions)) or "-"]
        for member in found.members
    ]
    output.table((*columns, "partitions"), rows)


def _plain(group: GroupDescription) -> dict[str, Any]:
    """The description for JSON: partitions as objects."""
    plain = dataclasses.asdict(group)
    for member in plain["members"]:
        member["partitions"] = [partition._asdict() for partition in member["partitions"]]
    return plain


@command.command("lag", short_help="Show how far behind a group is.")
@click.argument("name")
@common(json=True)
def lag(*, name: str, app: str | None, brokers: str | None, as_json: bool) -> None:
    """Show for each partition what the group NAME has committed and how much is left."""
    settings = settings_of(app, brokers)
    with near_names(settings, name):
        found = [dataclasses.asdict(partition) for partition in _groups(settings).lag(name)]
    if as_json:
        output.document(found)
        return
    columns = ("topic", "partition", "committed", "low", "high", "lag")
    output.table(columns, [[row[column] for column in columns] for row in found], numbers=columns[1:])
    output.note(f"{sum(row['lag'] or 0 for row in found)} messages behind")


@command.command("reset", short_help="Move the committed offsets of a group that nobody uses.")
@click.argument("name")
@click.option("--to", type=Place(), required=True, help="earliest, latest, an offset, a time, or ago (-1h).")
@click.option("-t", "--topic", "topics", multiple=True, help="Only this topic; repeatable.")
@click.option(
    "-p", "--partition", "partitions", type=click.IntRange(min=0), multiple=True, help="Only this; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@common(json=True)
def reset(
    *,
    name: str,
    to: Any,
    topics: tuple[str, ...],
    partitions: tuple[int, ...],
    dry_run: bool,
    yes: bool,
    app: str | None,
    brokers: str | None,
    as_json: bool,
) -> int | None:
    """Move the committed offsets of the group NAME; its workers must be stopped."""
    settings = settings_of(app, brokers)
    groups = _groups(settings)
    only: dict[str, Any] = {"topics": list(topics) or None, "partitions": list(partitions) or None}
    with near_names(settings, name, *topics):
        changes = groups.reset(name, to, **only, dry_run=True)
        if not as_json:
            _show_changes(changes)
        if not dry_run:
            if not output.confirmed(f"Move {len(changes)} offsets of {name}?", yes=yes):
                return exits.FAILED
            changes = groups.reset(name, to, **only)
    if as_json:
        output.document({"group": name, "changed": not dry_run, "offsets": [dataclasses.asdict(c) for c in changes]})
    else:
        output.note("nothing was changed (--dry-run)" if dry_run else f"moved {len(changes)} offsets of {name}")
    return None


def _show_changes(changes: list[OffsetChange]) -> None:
    columns = ("topic", "partition", "before", "after")
    rows = [[getattr(change, column) for column in columns] for change in changes]
    output.table(columns, rows, numbers=columns[1:])


@command.command("delete", short_help="Delete groups with their committed offsets.")
@click.argument("names", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@common()
def delete(*, names: tuple[str, ...], yes: bool, app: str | None, brokers: str | None) -> int | None:
    """Delete the groups NAMES with their committed offsets; their workers must be stopped."""
    settings = settings_of(app, brokers)
    groups = _groups(settings)
    with near_names(settings, *names):
        for name in names:
            groups.describe(name)
    if not output.confirmed(f"Delete {', '.join(names)} with all committed offsets?", yes=yes):
        return exits.FAILED
    for name in names:
        groups.delete(name)
        output.say(f"deleted {name}")
    return None
