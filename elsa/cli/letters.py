"""Dead letters as rows, facts and JSON; and what became of a replay or a drop. Used by `elsa dlq`."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from elsa import exits
from elsa.cli import output
from elsa.cli.lines import to_json, to_time, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.dead_letters import DeadLetter, Result, Summary

COLUMNS = ("place", "died", "handler", "reason", "attempts", "key", "origin", "error", "says")
#: characters of an error's text in a row
_MOST_TEXT = 80
SUMMARY_COLUMNS = ("topic", "open", "handled", "oldest", "newest", "most often")


def row(letter: DeadLetter) -> list[Any]:
    """One dead letter under COLUMNS."""
    return [
        letter.place,
        _time(letter.timestamp),
        _safe(letter.handler),
        _safe(letter.reason),
        letter.attempt,
        None if letter.key is None else visible(letter.key),
        None if letter.origin is None else visible(str(letter.origin).encode()),
        _safe(letter.error_type),
        _short(letter.error_message),
    ]


def facts(letter: DeadLetter) -> list[tuple[str, Any]]:
    """What is known of one dead letter, as (name, text)."""
    return [
        ("place", f"{letter.topic}[{letter.partition}]@{letter.offset}"),
        ("died", _time(letter.timestamp)),
        ("is handled", letter.is_handled),
        ("origin", None if letter.origin is None else visible(str(letter.origin).encode())),
        ("id", _safe(letter.id)),
        ("handler", _safe(letter.handler)),
        ("reason", _safe(letter.reason)),
        ("attempts", letter.attempt),
        ("error", _safe(letter.error_type)),
        ("says", _safe(letter.error_message)),
        ("key", visible(letter.key)),
    ]


def as_json(letter: DeadLetter) -> dict[str, Any]:
    """One dead letter as a JSON object: the message as `elsa fetch --json` has it, and what its headers say."""
    return {
        **to_json(letter.message),
        "place": letter.place,
        "origin": None if letter.origin is None else letter.origin._asdict(),
        "id": letter.id,
        "handler": letter.handler,
        "reason": letter.reason,
        "attempts": letter.attempt,
        "error_type": letter.error_type,
        "error_message": letter.error_message,
        "traceback": letter.traceback,
        "is_handled": letter.is_handled,
    }


def summary_row(summary: Summary) -> list[Any]:
    """One topic under SUMMARY_COLUMNS."""
    often = summary.errors.most_common(1)
    return [
        summary.topic,
        summary.open,
        summary.handled,
        _time(summary.oldest),
        _time(summary.newest),
        f"{_safe(often[0][0])} ({often[0][1]})" if often else None,
    ]


def summary_json(summary: Summary) -> dict[str, Any]:
    """One topic as a JSON object."""
    return {
        "topic": summary.topic,
        "open": summary.open,
        "handled": summary.handled,
        "oldest": summary.oldest,
        "newest": summary.newest,
        "reasons": dict(summary.reasons.most_common()),
        "errors": dict(summary.errors.most_common()),
        "handlers": dict(summary.handlers.most_common()),
    }


def show(letter: DeadLetter) -> None:
    """One dead letter for a person: facts, headers, traceback, value."""
    output.table(("dead letter", letter.place), facts(letter))
    if letter.headers:
        output.say("")
        # the traceback has lines of its own below
        rows = [(visible(name.encode()), visible(content)) for name, content in letter.headers]
        output.table(("header", "value"), [pair for pair in rows if pair[0] != "elsa-traceback"])
    if letter.traceback:
        output.say("\n" + visible(letter.traceback.encode(), keep="\n").rstrip())
    output.say("\n" + visible(letter.value, keep="\n\t"))


def _safe(text: str | None) -> str | None:
    return None if text is None else visible(text.encode())


def _short(text: str | None) -> str | None:
    found = _safe(text)
    return found if found is None or len(found) <= _MOST_TEXT else f"{found[: _MOST_TEXT - 1]}…"


def _time(timestamp: float | None) -> str | None:
    return None if timestamp is None else to_time(timestamp)


# -- what became of it -----------------------------------------------------------------------------------


def report(topic: str, verb: str, result: Result, *, as_json: bool) -> int:
    """Print what a replay or a drop came to; the exit code."""
    for text in result.warnings:
        output.warn(text)
    if as_json:
        output.line(
            {
                "topic": topic,
                "operation": verb,
                "dry_run": result.is_dry,
                "done": result.done,
                "targets": dict(result.targets),
                "refused": dict(result.refused),
                "uncertain": result.uncertain,
                "interrupted": result.is_interrupted,
                "purged": {str(partition): low for partition, low in result.purged.items()},
            }
        )
    else:
        _say(topic, verb, result)
    if result.is_interrupted:
        return exits.INTERRUPTED
    return exits.FAILED if result.refused else exits.OK


def _say(topic: str, verb: str, result: Result) -> None:
    past = {"replay": "replayed", "drop": "dropped"}[verb]
    done = f"would have {past}" if result.is_dry else past
    output.say(f"{done} {result.done} dead letters of {topic}")
    for target, count in sorted(result.targets.items()):
        output.say(f"  {count} to {target}")
    for partition, low in sorted(result.purged.items()):
        output.say(f"  deleted for good below {partition}:{low}")
    for reason, count in result.refused.most_common():
        output.fail(f"{count} stay: {reason}")
    if result.is_dry:
        output.note("nothing was changed (--dry-run)")
    if result.is_interrupted:
        output.note("interrupted; say it again to go on: none is done twice")


@contextlib.contextmanager
def progress(verb: str, limit: int | None = None) -> Iterator[Callable[[Result], None]]:
    """A bar on stderr for a person: of the log that is looked through, or of the `limit` if that is reached first."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.fields[done]:,} {task.description}"), TimeElapsedColumn())
    past = {"replay": "replayed", "drop": "dropped"}[verb]
    with Progress(*columns, TimeRemainingColumn(), console=output.console(stderr=True), transient=True) as bar:
        task = bar.add_task(past, total=None, done=0)

        def tell(result: Result) -> None:
            looked = result.passed / result.span if result.span else 0.0
            share = max(looked, result.done / limit if limit is not None else 0.0)
            bar.update(task, done=result.done, completed=share, total=1.0 if result.span else None)

        yield tell
