"""What `elsa worker` shows when the app is loaded: its handlers, where the numbers are, how to stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: schedules that are named one by one
MOST_SCHEDULES = 10
_COLUMNS = ("handler", "topics", "group", "runs on", "ordering", "retry")


def show(banner: Mapping[str, Any], *, pid: int, processes: int, metrics: str | None, is_terminal: bool) -> None:
    """Print the banner to stderr: a table for a person, plain lines for a file."""
    title = f"elsa {banner.get('version', '')} worker {banner.get('app', '')}".replace("  ", " ")
    facts = [
        ("brokers", str(banner.get("brokers", ""))),
        ("processes", f"{processes} (supervisor's pid {pid})"),
        ("metrics", metrics or "off, --metrics-port 9464 serves them"),
        ("stop", f"ctrl-C or kill {pid}, twice for at once; kill -HUP {pid} restarts one by one"),
    ]
    facts += [("schedule", f"{one.get('name')}: {one.get('text')}") for one in _shown(banner.get("schedules", ()))]
    rows = [_row(handler) for handler in banner.get("handlers", ())]
    notes = [str(note) for note in banner.get("notes", ())]
    if is_terminal:
        _rich(title, facts, rows, notes)
        return
    click.echo(title, err=True)
    for name, text in facts:
        click.echo(f"  {name:<10} {text}", err=True)
    for row in rows:
        click.echo("  handler    " + ", ".join(filter(None, _sentence(row))), err=True)
    if not rows:
        click.echo("  handler    none: the app declares no handler that was asked for", err=True)
    for note in notes:
        click.echo(f"  note       {note}", err=True)


def _shown(schedules: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Not more than fit on a screen."""
    more = len(schedules) - MOST_SCHEDULES
    rest = [{"name": f"{more} more", "text": "elsa check names all"}] if more > 0 else []
    return [*schedules[:MOST_SCHEDULES], *rest]


def _row(handler: Mapping[str, Any]) -> tuple[str, ...]:
    partitions = handler.get("partitions")
    topics = " ".join(handler.get("topics", ())) + (f" ({partitions} partitions)" if partitions else "")
    runs = f"{handler.get('executor', '')} x{handler.get('concurrency', '')}"
    if handler.get("batch"):
        runs += f", batches of {handler['batch']}"
    group = handler.get("group") or "none (standalone)"
    return (
        str(handler.get("name", "")),
        topics,
        str(group),
        runs,
        str(handler.get("ordering") or ""),
        str(handler.get("retry") or ""),
    )


def _sentence(row: Sequence[str]) -> list[str]:
    name, topics, group, runs, ordering, retry = row
    return [
        f"{name}: topics {topics}",
        f"group {group}",
        runs,
        f"order by {ordering}" if ordering else "",
        f"retry {retry}" if retry else "",
    ]


def _rich(title: str, facts: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from elsa.cli.output import console

    screen = console(stderr=True)
    screen.print(Text(title, style="bold"))
    for name, text in facts:
        screen.print(Text.assemble((f"  {name:<10} ", "dim"), text))
    if not rows:
        screen.print(Text("  the app declares no handler that was asked for", style="yellow"))
        return
    shown = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for column in _COLUMNS:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    screen.print(shown)
    for note in notes:
        screen.print(Text(f"  {note}", style="yellow"))
