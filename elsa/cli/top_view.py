"""Draws a frame of `elsa top`: tables that fit the screen for a person, plain text for a pipe."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from elsa.cli import output
from elsa.cli.lag import age_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from elsa.monitor.frame import Frame

#: columns of each table: heading, whether it is a number, how a row shows it
Column = tuple[str, bool, "Callable[[Any], str]"]

_GRADES = {"warn": "yellow", "rewind": "magenta", "stall": "red", "stop": "bold red"}
_KEYS = "q quit   s sort   p pause   / filter   esc no filter"
#: lines around the tables: title, headings, notes, keys
_FRAME_LINES = 4
_LEAST_ROWS = 3


def rate_text(rate: float | None) -> str:
    """Messages a second for a person.

    >>> [rate_text(each) for each in (None, 0, 0.25, 12.34, 4321.5)]
    ['-', '0', '0.2', '12', '4,322']
    """
    if rate is None:
        return "-"
    return f"{rate:.1f}" if 0 < rate < 10 else f"{rate:,.0f}"


def time_text(seconds: float | None) -> str:
    """A run time for a person.

    >>> [time_text(each) for each in (None, 0.0005, 0.0213, 1.5, 90)]
    ['-', '0.5ms', '21ms', '1.5s', '1m30s']
    """
    if seconds is None:
        return "-"
    if seconds < 1:
        milliseconds = seconds * 1_000
        return f"{milliseconds:.1f}ms" if milliseconds < 10 else f"{milliseconds:.0f}ms"
    return age_text(seconds)


def _age(seconds: float | None) -> str:
    return "?" if seconds is None else age_text(seconds)


GROUPS: tuple[Column, ...] = (
    ("group", False, lambda row: row.group),
    ("state", False, lambda row: row.state),
    ("members", True, lambda row: str(row.members)),
    ("lag", True, lambda row: f"{row.lag:,}"),
    ("age", True, lambda row: _age(row.lag_seconds)),
    ("done/s", True, lambda row: rate_text(row.done)),
    ("in/s", True, lambda row: rate_text(row.incoming)),
    ("grade", False, lambda row: row.grade or "-"),
)
PARTITIONS: tuple[Column, ...] = (
    ("group", False, lambda row: row.group),
    ("partition", False, lambda row: f"{row.topic}[{row.partition}]"),
    ("lag", True, lambda row: f"{row.lag:,}"),
    ("age", True, lambda row: _age(row.lag_seconds)),
    ("done/s", True, lambda row: rate_text(row.done)),
    ("in/s", True, lambda row: rate_text(row.incoming)),
    ("grade", False, lambda row: row.grade or "-"),
    ("paused", False, lambda row: row.paused or "-"),
    ("attempts", True, lambda row: "-" if row.head_attempts is None else str(row.head_attempts)),
    ("owner", False, lambda row: row.owner or "-"),
)
HANDLERS: tuple[Column, ...] = (
    ("handler", False, lambda row: row.handler),
    ("group", False, lambda row: row.group or "-"),
    ("topic", False, lambda row: row.topic),
    ("workers", True, lambda row: str(row.workers)),
    ("running", True, lambda row: str(row.running)),
    ("msg/s", True, lambda row: rate_text(row.rate)),
    ("failing/s", True, lambda row: rate_text(row.failing)),
    ("p95", True, lambda row: time_text(row.p95)),
    ("exceptions", True, lambda row: f"{row.exceptions:,}"),
    ("dead", True, lambda row: f"{row.outcomes.get('dead', 0):,}"),
)
WORKERS: tuple[Column, ...] = (
    ("worker", False, lambda row: row.worker),
    ("host", False, lambda row: row.host),
    ("pid", True, lambda row: str(row.pid)),
    ("state", False, lambda row: row.state),
    ("running", True, lambda row: str(row.running)),
    ("partitions", True, lambda row: str(row.partitions)),
    ("heard", True, lambda row: f"{age_text(row.silent)} ago"),
)


def title(frame: Frame, *, brokers: str, sort: str, only: str, is_paused: bool) -> str:
    """The first line: where, when, and what the keys have done."""
    moment = datetime.fromtimestamp(frame.at, UTC).astimezone().strftime("%H:%M:%S")
    parts = [f"elsa top  {brokers}  {moment}", f"sorted by {sort}"]
    parts += [f"only {only!r}"] if only else []
    parts += ["PAUSED"] if is_paused else []
    return "  ".join(parts)


def sections(frame: Frame) -> list[tuple[tuple[Column, ...], Sequence[Any]]]:
    """The tables that have something to show, with their rows."""
    tables: list[tuple[tuple[Column, ...], Sequence[Any]]] = [
        (GROUPS, frame.groups),
        (HANDLERS, frame.handlers),
        (WORKERS, frame.workers),
        (PARTITIONS, frame.partitions),
    ]
    return [(columns, rows) for columns, rows in tables if rows]


def shares(wanted: Sequence[int], lines: int) -> list[int]:
    """How many rows of each table fit into `lines`: all of the small ones, the rest is shared.

    >>> shares([2, 3], 20), shares([50, 2, 50], 30), shares([50, 50], 1)
    ([2, 3], [14, 2, 14], [3, 3])
    """
    left, given = lines, [0] * len(wanted)
    for done, index in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        given[index] = min(wanted[index], max(_LEAST_ROWS, left // (len(wanted) - done)))
        left -= given[index]
    return given


def screen(frame: Frame, first_line: str, last_line: str, height: int) -> RenderableType:
    """The frame for a screen of so many lines."""
    from rich.console import Group
    from rich.text import Text

    tables = sections(frame)
    # each table has a heading, a line under it, and one that says what is left out
    notes = (*frame.notes, *(f"there is no group {name!r}" for name in frame.unknown))
    lines = height - _FRAME_LINES - len(notes) - 3 * len(tables)
    parts: list[RenderableType] = [Text(first_line, style="bold"), Text()]
    for (columns, rows), count in zip(tables, shares([len(rows) for _, rows in tables], lines), strict=True):
        parts += [_table(columns, rows[:count]), Text(_left_out(len(rows) - count), style="dim")]
    if not tables:
        parts.append(Text("no group", style="dim"))
    parts += [Text(f"! {note}", style="yellow", no_wrap=True, overflow="ellipsis") for note in notes]
    parts.append(Text(last_line or _KEYS, style="reverse"))
    return Group(*parts)


def _left_out(rows: int) -> str:
    return f"  {rows} more" if rows > 0 else ""


def _table(columns: Sequence[Column], rows: Sequence[Any]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name, is_number, _ in columns:
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(show(row)) for _, _, show in columns), style=_style(row))
    return table


def _style(row: Any) -> str:
    if getattr(row, "state", "") == "silent":
        return "red"
    return _GRADES.get(getattr(row, "grade", None) or "", "")


def print_plain(frame: Frame, first_line: str) -> None:
    """All of it as text, for who is no terminal; but for `unknown`, which the command ends with."""
    output.say(first_line)
    for columns, rows in sections(frame):
        output.say("")
        names = [name for name, _, _ in columns]
        numbers = [name for name, is_number, _ in columns if is_number]
        output.table(names, [[show(row) for _, _, show in columns] for row in rows], numbers=numbers)
    for note in frame.notes:
        output.warn(note)
