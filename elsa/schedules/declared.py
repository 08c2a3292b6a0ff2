"""The periodic calls that an App declares; filled while modules are imported, read-only afterwards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elsa import headers as names
from elsa import units
from elsa.errors import DeclarationError
from elsa.policies import schedule as policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from elsa.app import App
    from elsa.handlers import Task
    from elsa.policies.schedule import Rule

#: schedules are spread over so many partitions by their names; it never changes, for two owners must not both have one
SHARDS = 8
#: what the metadata of one commit has room for
MOST_IN_SHARD = 200
MISFIRE_SECONDS = 600.0
LEAST_MISFIRE_SECONDS = 1.0
#: how long a broker keeps the offsets of a group without members, unless it is told otherwise
MOST_MISFIRE_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """One periodic call of a task."""

    name: str
    rule: Rule
    task: Task[Any, Any]
    body: bytes | None
    headers: names.Pairs
    #: milliseconds after which a fire time is left out
    misfire_limit: int
    shard: int
    #: of its name and rule: another rule is another schedule, which begins anew
    identity: bytes

    def message(self, moment: int) -> names.Pairs:
        """The headers of the message of one fire time; its id is the same from whomever it comes."""
        return [
            *self.headers,
            (names.ID, f"{self.name}:{policy.iso(moment)}".encode()),
            (names.SCHEDULED_AT, f"{moment / 1000:.3f}".encode()),
        ]

    def describe(self) -> str:
        """What is called when, in a few words."""
        called = "" if self.task.name == self.name else f", calls {self.task.name}"
        return f"{self.rule}{called}, to {self.task.topic}"


class Schedules:
    """All schedules of one App, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Schedule] = {}

    def __iter__(self) -> Iterator[Schedule]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __getitem__(self, name: str) -> Schedule:
        return self._by_name[name]

    def add(
        self,
        app: App,
        task: Task[Any, Any],
        rule: Callable[[], Rule],
        *,
        name: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        misfire_limit: Any,
    ) -> Task[Any, Any]:
        """Take a schedule of a task in, and return the task; raises DeclarationError for what is wrong with it."""
        if not task.is_task:
            raise DeclarationError(
                f"{task.name} is a handler of messages, a schedule calls a task", hint="declare it with @app.task"
            )
        if task.app is not app:
            raise DeclarationError(
                f"{task.name} is a task of the App {task.app.name!r}, not of {app.name!r}",
                hint="schedule it on the App that has it",
            )
        given, name = name, task.name if name is None else name
        where = f"schedule {name!r}"
        if not isinstance(name, str) or not name:
            raise DeclarationError(f"{where}: the name is no text", hint="leave it out: it is the task's name")
        if name in self._by_name:
            hint = "give one of them another name=" if given else "give this one a name= of its own"
            raise DeclarationError(f"{where} exists already", hint=hint)
        try:
            made = rule()
        except ValueError as error:
            raise DeclarationError(f"{where}: {error}") from error
        body, headers = _call(task, where, args, kwargs)
        shard = _digest(name)[0] % SHARDS
        if sum(one.shard == shard for one in self) >= MOST_IN_SHARD:
            raise DeclarationError(
                f"{where}: this App has {len(self)} schedules, there is no room for more", hint="use a second App"
            )
        self._by_name[name] = Schedule(
            name=name,
            rule=made,
            task=task,
            body=body,
            headers=headers,
            misfire_limit=_limit(where, misfire_limit),
            shard=shard,
            identity=_digest(f"{name}\0{made}")[:6],
        )
        return task


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _call(
    task: Task[Any, Any], where: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None
) -> tuple[bytes | None, names.Pairs]:
    try:
        return task._encode(tuple(args), dict(kwargs or {}))
    except Exception as error:  # the binding, msgspec and a user's type each raise their own
        raise DeclarationError(
            f"{where}: the call does not fit {task.name}: {error}", hint="args= and kwargs= are what it is called with"
        ) from error


def _limit(where: str, value: Any) -> int:
    try:
        seconds = units.seconds(value.total_seconds() if hasattr(value, "total_seconds") else value)
    except ValueError as error:
        raise DeclarationError(f"{where}: misfire_limit={value!r} is not {error}") from error
    if seconds < LEAST_MISFIRE_SECONDS:
        raise DeclarationError(
            f"{where}: misfire_limit={value!r} is shorter than {LEAST_MISFIRE_SECONDS:g} s",
            hint="a worker that is busy for a moment would leave calls out",
        )
    if seconds > MOST_MISFIRE_SECONDS:
        raise DeclarationError(
            f"{where}: misfire_limit={value!r} is longer than 7 days",
            hint="a broker forgets after that time what has fired, when no worker runs",
        )
    return round(seconds * 1000)
