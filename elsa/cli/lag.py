"""`elsa lag`: how far groups are behind, for a person; with --check an exit code for cron and CI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from elsa import exits
from elsa.cli import is_debugging, output
from elsa.cli.parameters import Seconds, common, examples, settings_of
from elsa.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from threading import Event

    from elsa.config import Settings
    from elsa.monitor.grades import Grade, Key
    from elsa.monitor.limits import Excess, Limits
    from elsa.monitor.look import GroupState, Look, Request
    from elsa.monitor.scout import Scout

_STYLES = {"warn": "yellow", "rewind": "magenta", "stall": "red", "stop": "bold red"}
#: looks that a window of grades is made of
_LOOKS = 6


@click.command(
    "lag",
    short_help="Show how far groups are behind, or check it against limits.",
    epilog=examples(
        "elsa lag",
        "elsa lag billing --topic orders",
        "elsa lag billing --watch",
        "elsa lag billing --check --max-messages 10000 --max-age 5m",
        "elsa lag 'shop-*' --check --grade --window 1m --json",
    )
    + f"\n\n\b\nWith --check:\n"
    f"  {exits.OK:>3}  every group is within the limits\n"
    f"  {exits.OVER_LIMIT:>3}  a group is over one\n"
    f"  {exits.NOT_FOUND:>3}  no group is named so, or nobody reads a topic that was\n"
    f"  {exits.BROKER:>3}  Kafka did not answer, or not all of it",
)
@click.argument("names", nargs=-1, metavar="[GROUP]...")
@click.option("-t", "--topic", "topics", multiple=True, help="Only this topic; repeatable.")
@click.option("--check", is_flag=True, help="Print only what is over the limits, and end with a code that says so.")
@click.option("--max-messages", type=click.IntRange(min=0), help="How many messages a group may be behind.")
@click.option("--max-age", type=Seconds(), help="How long its oldest message may wait: 30s, 5m.")
@click.option("--grade", is_flag=True, help="Look for --window and grade: ok, warn, rewind, stall, stop.")
@click.option("--window", type=Seconds(), default="1m", show_default=True, help="How long --grade looks.")
@click.option("--read-uncommitted", is_flag=True, help="Count to the high watermark, open transactions included.")
@click.option("--watch", is_flag=True, help="Look again and again, until ctrl-C.")
@click.option("--interval", type=Seconds(), default="2s", show_default=True, help="Time between looks of --watch.")
@common(json=True)
def command(
    *,
    names: tuple[str, ...],
    topics: tuple[str, ...],
    check: bool,
    max_messages: int | None,
    max_age: float | None,
    grade: bool,
    window: float,
    read_uncommitted: bool,
    watch: bool,
    interval: float,
    app: str | None,
    brokers: str | None,
    as_json: bool,
) -> int | None:
    """Show how far the groups GROUP... (names, or patterns like 'shop-*'; none: all) are behind.

    A limit holds for each group: of --max-messages all its partitions together, of --max-age the oldest message.
    """
    from elsa.monitor.limits import Limits
    from elsa.monitor.look import Request
    from elsa.monitor.scout import Scout

    limits = Limits(max_messages, max_age, is_graded=check and grade)
    if check and not limits:
        raise click.UsageError("--check needs a limit: --max-messages, --max-age or --grade")
    if not check and (max_messages is not None or max_age is not None):
        raise click.UsageError("--max-messages and --max-age are limits of --check: add it")
    if watch and (check or grade):
        raise click.UsageError("--watch shows, --check and --grade look for a while and end: give one of them")
    _belongs("interval", watch, to="--watch")
    _belongs("window", grade, to="--grade")
    if interval <= 0 or window <= 0:
        raise click.UsageError("--interval and --window have to be above 0")
    settings = settings_of(app, brokers)
    request = Request(names, topics, read_committed=not read_uncommitted)
    with Scout(settings, quiet=not is_debugging()) as scout:
        if watch:
            return _watch(scout, request, interval, as_json=as_json)
        look, grades = _graded(scout, request, window) if grade else (scout.look(request), None)
    if check:
        return _check(limits, look, grades or {}, settings, topics, as_json=as_json)
    _show(look, grades, as_json=as_json)
    return _ending(look, settings, topics, quiet=as_json)


def _belongs(option: str, is_used: bool, *, to: str) -> None:
    from click.core import ParameterSource

    is_given = click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE
    if is_given and not is_used:
        raise click.UsageError(f"--{option} belongs to {to}: add it")


def _graded(scout: Scout, request: Request, window: float) -> tuple[Look, Mapping[Key, Grade]]:
    """Looks over a window, the last one and the grades."""
    from elsa.cli.interrupts import interrupted_by_signals
    from elsa.monitor.grades import Grades

    history = Grades(window)
    pause = _pause()
    first: float | None = None
    with interrupted_by_signals():
        while True:
            look = scout.look(request)
            now = SYSTEM.monotonic()
            first = now if first is None else first
            grades = history.take(now, look.groups, {each.name for each in look.failures if each.what == "group"})
            if now - first >= window:
                return look, grades
            pause.wait(window / _LOOKS)


def _pause() -> Event:
    import threading

    return threading.Event()


def _watch(scout: Scout, request: Request, interval: float, *, as_json: bool) -> int | None:
    from elsa.cli.interrupts import interrupted_by_signals
    from elsa.errors import BrokerUnavailable

    pause = _pause()
    with interrupted_by_signals():
        while True:
            try:
                look = scout.look(request)
            except BrokerUnavailable as error:
                output.warn(str(error).partition("\n")[0])
            else:
                if as_json:
                    output.line(_document(look, None))
                else:
                    if output.is_terminal():
                        click.clear()
                    _show(look, None, as_json=False)
                    _tell(look)
                    for name in look.unknown:
                        output.warn(f"there is no group {name!r}")
            pause.wait(interval)


def _document(look: Look, grades: Mapping[Key, Grade] | None) -> dict[str, Any]:
    import dataclasses

    from elsa.monitor.documents import group_document

    return {
        "at": round(look.at, 3),
        "groups": [group_document(group, grades) for group in _known(look)],
        "unknown": list(look.unknown),
        "failures": [dataclasses.asdict(failure) for failure in look.failures],
    }


def _known(look: Look) -> list[GroupState]:
    return [group for group in look.groups if group.name not in look.unknown]


def _show(look: Look, grades: Mapping[Key, Grade] | None, *, as_json: bool) -> None:
    if as_json:
        output.document(_document(look, grades))
        return
    columns = ["group", "state", "topic", "partition", "committed", "end", "lag", "age", "owner"]
    rows: list[list[Any]] = []
    styles = []
    for group in _known(look):
        for each in group.partitions:
            status = (grades or {}).get((group.name, each.topic, each.partition), "ok")
            age = "?" if each.lag_seconds is None else age_text(each.lag_seconds)
            place = [group.name, group.state, each.topic, each.partition, each.committed, each.end, each.lag, age]
            rows.append([*place, each.owner, *([status] if grades is not None else [])])
            styles.append(_STYLES.get(status, "") or ("yellow" if each.lag and each.owner is None else ""))
    if grades is not None:
        columns.append("grade")
    if rows or not (look.unknown or look.failures):
        output.table(columns, rows, numbers=("partition", "committed", "end", "lag", "age"), styles=styles)
    for group in _known(look):
        oldest = group.oldest_seconds
        age = f", the oldest for {age_text(oldest)}" if oldest else ""
        output.note(f"{group.name}: {group.lag} messages behind{age}, {group.members} members")


def age_text(seconds: float) -> str:
    """A duration for a person.

    >>> [age_text(each) for each in (0, 0.25, 59.4, 60, 7322, 90000)]
    ['0', '0.2s', '59s', '1m00s', '2h02m', '1d1h']
    """
    if seconds < 10:
        return f"{seconds:.1f}s" if seconds else "0"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    if not hours:
        return f"{minutes}m{rest:02}s"
    return f"{hours}h{minutes_left:02}m" if hours < 24 else f"{hours // 24}d{hours % 24}h"


def _tell(look: Look) -> None:
    for failure in look.failures:
        output.warn(f"{failure.what} {failure.name}: {failure.text}" if failure.name else failure.text)


def _ending(
    look: Look, settings: Settings, topics: Sequence[str], *, quiet: bool, needs_ages: bool = False
) -> int | None:
    """Say what could not be seen; the exit code for it."""
    if not quiet:
        _tell(look)
    if look.unknown:
        from elsa.cli.hints import refuse_groups

        refuse_groups(settings, look.unknown)
    if not look.failures and (unread := look.unread(topics)):
        # a name with a slip in it must not pass for a topic that nobody is behind in
        _refuse_topics(unread, settings)
    failures = [each for each in look.failures if each.what != "age" or needs_ages]
    return exits.BROKER if failures else None


def _refuse_topics(names: Sequence[str], settings: Settings) -> None:
    from elsa.cli.hints import near_names
    from elsa.errors import UnknownTopic

    with near_names(settings, *names):
        raise UnknownTopic(f"no group here reads topic {', '.join(map(repr, names))}", topic=names[0])


def _check(
    limits: Limits,
    look: Look,
    grades: Mapping[Key, Grade],
    settings: Settings,
    topics: Sequence[str],
    *,
    as_json: bool,
) -> int:
    from elsa.monitor.limits import excesses

    found = excesses(limits, _known(look), grades)
    over = [each for each in found if not each.is_unknown]
    if as_json:
        over_texts = [{"group": each.group, "text": each.text} for each in over]
        output.document(_document(look, grades if limits.is_graded else None) | {"over": over_texts})
    else:
        _report(found, look, topics)
    # what is certain goes first, then what cannot be said
    code = _ending(look, settings, topics, quiet=as_json, needs_ages=limits.age_seconds is not None)
    if over:
        return exits.OVER_LIMIT
    return code or (exits.BROKER if found else exits.OK)


def _report(found: Sequence[Excess], look: Look, topics: Sequence[str]) -> None:
    for each in found:
        sign, colour = ("unknown", "yellow") if each.is_unknown else ("over", "red")
        output.say(f"{click.style(f'{sign:<7}', fg=colour, bold=True)}  {each.group}: {each.text}")
    if look.unread(topics):
        return  # in a topic that nobody was seen to read, nobody is well
    good = {group.name for group in _known(look)} - {each.group for each in found}
    for name in sorted(good):
        output.say(f"{click.style('ok     ', fg='green', bold=True)}  {name}")
