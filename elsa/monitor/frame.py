"""What `elsa top` shows at one moment: rows of groups, partitions, handlers and workers, sorted and filtered; pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elsa.control.protocol import SILENT_SECONDS
from elsa.monitor.documents import rounded
from elsa.monitor.grades import SEVERITY, worst
from elsa.monitor.speeds import HandlerSpeed, Rate, handlers, total

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from elsa.monitor.grades import Grade, Key
    from elsa.monitor.look import GroupState, Look, PartitionState, Report

#: what partitions and groups are sorted by; the first one is the default
SORTS = ("lag", "age", "rate", "grade", "name")
_UNKNOWN = Rate(None, None)


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group; rates in messages a second. They and the grade are None while they are unknown."""

    group: str
    state: str
    members: int
    lag: int
    lag_seconds: float | None
    done: float | None
    incoming: float | None
    grade: Grade | None


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """A partition of a group; `paused` and `head_attempts` come from its worker, None where none has told."""

    group: str
    topic: str
    partition: int
    lag: int
    lag_seconds: float | None
    done: float | None
    incoming: float | None
    grade: Grade | None
    owner: str | None
    paused: str | None = None
    head_attempts: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker process by its last report, `silent` seconds ago."""

    worker: str
    host: str
    pid: int
    state: str
    running: int
    partitions: int
    silent: float


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything that is shown; `notes` say what is missing, and why, `unknown` are groups that do not exist."""

    at: float
    groups: tuple[GroupRow, ...]
    partitions: tuple[PartitionRow, ...]
    handlers: tuple[HandlerSpeed, ...]
    workers: tuple[WorkerRow, ...]
    notes: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """For JSON."""
        plain = dataclasses.asdict(self)
        plain["at"] = rounded(self.at)
        for rows in (plain["groups"], plain["partitions"], plain["handlers"], plain["workers"]):
            for row in rows:
                row |= {name: rounded(value) for name, value in row.items() if isinstance(value, float)}
        return plain


def frame(look: Look, rates: Mapping[Key, Rate], grades: Mapping[Key, Grade], app: str) -> Frame:
    """A look, with the rates and the grades of its partitions, as rows; `app` is whose workers report."""
    reports = look.reports or {}
    fresh = {name: report for name, report in reports.items() if look.at - report.stamp <= SILENT_SECONDS}
    told = _told(fresh)
    partitions = [
        _partition(group, each, rates, grades, told.get((group.name, each.topic, each.partition)))
        for group in look.groups
        for each in group.partitions
    ]
    groups = [_group(group, [row for row in partitions if row.group == group.name]) for group in look.groups]
    return Frame(
        look.at,
        tuple(groups),
        tuple(partitions),
        tuple(handlers(fresh)),
        tuple(_worker(name, report, look.at) for name, report in sorted(reports.items())),
        tuple(_notes(look, fresh, app)),
        look.unknown,
    )


def _told(reports: Mapping[str, Report]) -> dict[Key, Mapping[str, Any]]:
    """What workers say of their partitions; of a topic of many tasks there may be one for each of them."""
    return {
        (each.get("group") or "", each.get("topic") or "", each.get("partition", -1)): each
        for report in reports.values()
        for each in report.status.partitions
    }


def _partition(
    group: GroupState,
    each: PartitionState,
    rates: Mapping[Key, Rate],
    grades: Mapping[Key, Grade],
    told: Mapping[str, Any] | None,
) -> PartitionRow:
    key = (group.name, each.topic, each.partition)
    rate = rates.get(key, _UNKNOWN)
    return PartitionRow(
        *key,
        each.lag,
        each.lag_seconds,
        rate.done,
        rate.incoming,
        grades.get(key),
        each.owner,
        told.get("paused") if told else None,
        told.get("head_attempts") if told else None,
    )


def _group(group: GroupState, rows: Sequence[PartitionRow]) -> GroupRow:
    return GroupRow(
        group.name,
        group.state,
        group.members,
        group.lag,
        group.oldest_seconds,
        total(row.done for row in rows),
        total(row.incoming for row in rows),
        worst(known) if (known := [row.grade for row in rows if row.grade is not None]) else None,
    )


def _worker(name: str, report: Report, now: float) -> WorkerRow:
    status, silent = report.status, max(0.0, now - report.stamp)
    if silent > SILENT_SECONDS:
        state = "silent"
    elif status.is_stopping:
        state = "stopping"
    elif status.is_quiet:
        state = "quiet"
    else:
        state = "ready" if status.is_ready else "starting"
    return WorkerRow(name, status.host, status.pid, state, status.running, len(status.partitions), silent)


def _notes(look: Look, fresh: Mapping[str, Report], app: str) -> Iterable[str]:
    if look.reports is None:
        yield f"handlers and pauses are unknown: there is no topic {app}.status, so no worker of {app!r} has run here"
    elif not fresh:
        yield f"handlers and pauses are unknown: no worker of {app!r} reports"
    for name, report in sorted((look.reports or {}).items()):
        if name not in fresh:
            yield f"{name} has been silent for {look.at - report.stamp:.0f} s: its numbers are left out"
        elif report.status.tallies is None:
            yield f"{name} counts nothing: it runs in a program of its own, not in `elsa worker`"
    for failure in look.failures:
        yield f"{failure.what} {failure.name}: {failure.text}" if failure.name else failure.text


def chosen(whole: Frame, *, sort: str = SORTS[0], only: str = "") -> Frame:
    """The same, sorted (what is worst first), and only the rows that have the text `only` in a name."""
    return dataclasses.replace(
        whole,
        groups=tuple(sorted((row for row in whole.groups if only in row.group), key=_order(sort))),
        partitions=tuple(
            sorted((row for row in whole.partitions if only in row.group or only in row.topic), key=_order(sort))
        ),
        handlers=tuple(
            row for row in whole.handlers if any(only in (name or "") for name in (row.group, row.topic, row.handler))
        ),
        workers=tuple(row for row in whole.workers if not only or only in row.worker or only in row.host),
    )


def _order(sort: str) -> Any:
    def key(row: GroupRow | PartitionRow) -> tuple[Any, ...]:
        name = (row.group, getattr(row, "topic", ""), getattr(row, "partition", -1))
        if sort == "age":
            # what could not be read may be anything
            return (-(row.lag_seconds if row.lag_seconds is not None else float("inf")), name)
        if sort == "rate":
            return (-(row.done or 0.0), name)
        if sort == "grade":
            return (-SEVERITY.index(row.grade or "ok"), -row.lag, name)
        return (-row.lag, name) if sort == "lag" else (name,)

    return key
