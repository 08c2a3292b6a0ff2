"""`elsa inspect`: asks the running workers who they are, what runs, what they own, how they are set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from elsa.cli import output
from elsa.cli.addressing import addressed
from elsa.cli.parameters import examples
from elsa.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.cli.addressing import Workers

#: characters of a progress that a table shows
_WIDEST = 40


@click.group(
    "inspect",
    short_help="Ask the running workers: who they are, what they do and own.",
    epilog=examples(
        "elsa inspect ping -A shop:app",
        "elsa inspect active --name shop --handler shop.bill",
        "elsa inspect assignments --name shop --topic orders --json",
        "elsa inspect config --name shop --worker shop-host-0",
    ),
)
def command() -> None:
    """Ask the running workers of an app, wherever they run; they answer while all of their handlers are busy."""


@command.command("ping", short_help="Show which worker processes answer.")
@addressed(handler=False)
def ping(*, workers: Workers, as_json: bool) -> int | None:
    """Show which worker processes answer, since when they run, and whether they take work."""
    answers = workers.call("ping")
    if as_json:
        output.document([{"worker": name, **result} for name, result in answers.results.items()])
        return workers.ending(answers)
    columns = ("worker", "host", "pid", "version", "state", "running", "up")
    rows = [
        [name, each["host"], each["pid"], each["version"], _state(each), each["running"], _up(each["started_at"])]
        for name, each in answers.results.items()
    ]
    output.table(columns, rows, numbers=("pid", "running"))
    return workers.ending(answers)


def _state(result: Mapping[str, Any]) -> str:
    if result["is_stopping"]:
        return "stopping"
    if result["is_quiet"]:
        return "quiet"
    return "ready" if result["is_ready"] else "starting"


def _up(started_at: float) -> str:
    """How long ago that was.

    >>> _up(SYSTEM.now() - 3723)
    '1:02:03'
    """
    seconds = max(0, round(SYSTEM.now() - started_at))
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


@command.command("active", short_help="Show the handler calls that run now.")
@addressed()
def active(*, workers: Workers, as_json: bool) -> int | None:
    """Show the handler calls that run now, the longest first, with the progress that they have told."""
    answers = workers.call("active")
    rows = [{"worker": name, **call} for name, calls in answers.results.items() for call in calls]
    rows.sort(key=lambda row: -row["seconds"])
    if as_json:
        output.document(rows)
        return workers.ending(answers)
    columns = ("worker", "handler", "topic", "partition", "offset", "key", "attempt", "seconds", "progress")
    cells = [[*(row[column] for column in columns[:-1]), _short(row["progress"])] for row in rows]
    output.table(columns, cells, numbers=("partition", "offset", "attempt", "seconds"))
    if not rows:
        output.note(f"nothing runs in {len(answers.results)} worker processes")
    return workers.ending(answers)


def _short(progress: Any) -> str | None:
    if progress is None:
        return None
    text = progress if isinstance(progress, str) else json.dumps(progress, ensure_ascii=False)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


@command.command("assignments", short_help="Show which worker has which partitions, and how far it is.")
@addressed()
def assignments(*, workers: Workers, as_json: bool) -> int | None:
    """Show which worker process has which partitions, how far it is, and why one takes no messages."""
    answers = workers.call("assignments")
    rows = [{"worker": name, **each, "lag": _lag(each)} for name, found in answers.results.items() for each in found]
    rows.sort(key=lambda row: (row["topic"], row["partition"], row["handler"]))
    if as_json:
        output.document(rows)
        return workers.ending(answers)
    columns = ("topic", "partition", "handler", "group", "worker", "committed", "lag", "in_progress", "paused")
    output.table(
        columns,
        [[row[column] for column in columns] for row in rows],
        numbers=("partition", "committed", "lag", "in_progress"),
    )
    return workers.ending(answers)


def _lag(row: Mapping[str, Any]) -> int | None:
    """Offsets from the committed one (of a standalone handler: its position) to the end, where both are known."""
    at = row["position"] if row["group"] is None else row["committed"]
    return row["high_watermark"] - at if at >= 0 and row["high_watermark"] >= 0 else None


@command.command("config", short_help="Show the settings that the workers run with.")
@addressed(handler=False)
def config(*, workers: Workers, as_json: bool) -> int | None:
    """Show the effective settings of the workers, and where each comes from; secrets are hidden."""
    answers = workers.call("config")
    if as_json:
        output.document([{"worker": name, "settings": rows} for name, rows in answers.results.items()])
        return workers.ending(answers)
    # those that run with the same settings are shown as one
    same: dict[str, list[str]] = {}
    for name, rows in answers.results.items():
        same.setdefault(json.dumps(rows), []).append(name)
    for text, names in same.items():
        output.note(", ".join(names))
        output.table(("setting", "value", "from"), [list(row.values()) for row in json.loads(text)])
    return workers.ending(answers)
