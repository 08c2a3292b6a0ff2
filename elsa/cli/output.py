"""How commands print: tables, JSON, colour; the one place that knows whether a person or a pipe reads."""

from __future__ import annotations

import itertools
import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console


_WIDEST = 10_000
#: of place, time, key and value
_COLOURS = ("cyan", "bright_black", "green", None)


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def can_ask() -> bool:
    """Whether a person can answer a question."""
    return sys.stdin.isatty()


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A rich console; it honours NO_COLOR by itself."""
    from rich.console import Console

    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    numbers: Sequence[str] = (),
    styles: Sequence[str] = (),
) -> None:
    """Rows under headings; columns named in `numbers` stand at the right. In a pipe: aligned text without frames.

    `styles` are rich's for each row (`red`), for a person only.
    """
    texts = [[_text(cell) for cell in row] for row in rows]
    if not is_terminal():
        _plain_table(columns, texts, numbers)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    for row, style in itertools.zip_longest(texts, styles, fillvalue=""):
        shown.add_row(*(Text(cell) for cell in row), style=str(style))
    # a name that is cut or folded can not be copied: what is too wide is left to the terminal to break
    screen = console(width=_WIDEST)
    console(width=screen.measure(shown).maximum).print(shown)


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> None:
    lines = [columns, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, (tuple, list)):
        return ",".join(_text(each) for each in cell) or "-"
    return "-" if cell == {} else str(cell)


def document(value: Any) -> None:
    """One JSON document, indented for a person; what JSON has no form for (a callback among the settings) as text."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if is_terminal() else None, default=str))


def line(value: Any, *, flush: bool = True) -> None:
    """One JSON value on a line of its own."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    if flush:
        sys.stdout.flush()


def columns(cells: Sequence[str]) -> None:
    """The line of a message: coloured for a person, with tabs between the cells in a pipe."""
    if is_terminal():
        click.echo("  ".join(click.style(cell, fg=colour) for cell, colour in zip(cells, _COLOURS, strict=True)))
    else:
        sys.stdout.write("\t".join(cells) + "\n")


def raw(content: bytes) -> None:
    """Bytes as they are."""
    sys.stdout.buffer.write(content)


def say(text: str) -> None:
    """A result for a person, on stdout."""
    click.echo(text)


def note(text: str) -> None:
    """Something beside the result, on stderr."""
    click.secho(text, dim=True, err=True)


def warn(text: str) -> None:
    """Something that a person should look at, on stderr."""
    click.secho("warning: ", fg="yellow", bold=True, err=True, nl=False)
    click.echo(text, err=True)


def fail(text: str) -> None:
    """What went wrong, on stderr."""
    click.secho("error: ", fg="red", bold=True, err=True, nl=False)
    click.echo(text, err=True)


def finding(level: str, what: str, text: str, hint: str) -> None:
    """One line of a check, and what to do about it."""
    sign, colour = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "error": ("error", "red")}[level]
    click.echo(
        f"{click.style(f'{sign:<7}', fg=colour, bold=True)}  {what}: {text}" + (f"\n{'':9}{hint}" if hint else "")
    )


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask before something is destroyed; `--yes` answers. Nobody there to answer is a usage error."""
    if yes:
        return True
    if not can_ask():
        raise click.UsageError(f"{question} Nobody can answer here: add --yes")
    if click.confirm(question, err=True):
        return True
    note("nothing was changed")
    return False
