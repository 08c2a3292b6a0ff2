"""The account as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.stress.run import Report

_COLUMNS = ("produced", "handled", "lost", "duplicates", "unexplained", "out_of_order", "dead_letters", "longest_stall")


def table(report: Report) -> str:
    """One line for each kind of handler, then what was done to them."""
    heads = ("handler", *(name.replace("_", " ") for name in _COLUMNS))
    rows = [(line.kind, *(f"{getattr(line, name):,}" for name in _COLUMNS)) for line in report.lines]
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in (heads, *rows)]
    done = ", ".join(f"{count} {what}" for what, count in sorted(report.faults.items()))
    notes = ", ".join(f"{count} {what}" for what, count in report.notes.items())
    return "\n".join(
        [
            "",
            *lines,
            "",
            f"seed {report.seed}, {report.seconds:g} s of stream; faults: {done or 'none'}",
            f"{report.zombies} zombies, {report.unfenced} not fenced",
            f"{report.commits:,} commits, {len(report.backward)} of them went back",
            f"in the logs: {notes or 'nothing went wrong by itself'}",
        ]
    )
