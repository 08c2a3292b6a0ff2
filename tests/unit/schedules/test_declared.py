"""`@app.cron` and `@app.every`: what is taken, and what is refused where it is written."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.errors import DeclarationError
from elsa.handlers import Task
from elsa.policies.schedule import moment
from elsa.schedules import declared
from elsa.testing.kafka import unique_name

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app() -> Iterator[elsa.App]:
    made = elsa.App(unique_name("declared"))
    yield made
    made.stop()


def test_a_task_stays_a_task_and_may_have_several_schedules(app: elsa.App) -> None:
    @app.cron("0 9 * * *", timezone="Europe/Copenhagen")
    @app.every(60, name="often", args=(1,), kwargs={"b": "x"}, misfire_limit=timedelta(hours=1))
    @app.task(name="t", topic="calls")
    def task(a: int = 0, b: str = "") -> int:
        return a

    assert isinstance(task, Task)
    assert task(3) == 3
    assert [(one.name, one.describe()) for one in app.schedules] == [
        ("often", "every 60 s, calls t, to calls"),
        ("t", "0 9 * * * Europe/Copenhagen, to calls"),
    ]
    assert app.schedules["often"].body == b'[[1,"x"],{}]'
    assert app.schedules["often"].misfire_limit == 3_600_000


def test_a_function_becomes_a_task(app: elsa.App) -> None:
    @app.every("5m")
    def tick() -> None: ...

    assert tick.topic == f"{app.name}.tasks"
    assert app.registry.get(tick.name) is tick
    assert tick.name.endswith("test_a_function_becomes_a_task.tick")


def test_the_message_says_who_fires_when(app: elsa.App) -> None:
    app.every(1.5, name="x")(app.task(name="t")(lambda: None))

    assert app.schedules["x"].message(moment(1_764_115_201.5)) == [
        ("elsa-task", b"t"),
        ("elsa-id", b"x:2025-11-26T00:00:01.500Z"),
        ("elsa-scheduled-at", b"1764115201.500"),
    ]


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (lambda app: app.cron("61 * * * *"), r"schedule 't': '61 \* \* \* \*' is no cron expression: bad minute"),
        (lambda app: app.cron("* * * * *", timezone="Mars"), "schedule 't': timezone='Mars' is not known"),
        (lambda app: app.every(0), "schedule 't': a period of at least 0.1 s"),
        (lambda app: app.every(-5), "schedule 't': a duration"),
        (lambda app: app.every(1, args=(1, 2)), "schedule 't': the call does not fit t: too many positional"),
        (lambda app: app.every(1, kwargs={"a": "x"}), "does not fit t: .*Expected `int`"),
        (lambda app: app.every(1, name=""), "schedule '': the name is no text"),
        (lambda app: app.every(1, misfire_limit=-1), "misfire_limit=-1 is not a duration"),
        (lambda app: app.every(1, misfire_limit=0.5), "is shorter than 1 s\n  hint: a worker that is busy"),
        (lambda app: app.every(1, misfire_limit=timedelta(days=8)), "is longer than 7 days\n  hint: a broker forgets"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_where_it_is_declared(app: elsa.App, declare: Any, text: str) -> None:
    @app.task(name="t")
    def task(a: int = 0) -> None: ...

    with pytest.raises(DeclarationError, match=text):
        declare(app)(task)
    assert len(app.schedules) == 0


def test_two_schedules_of_one_name_are_refused(app: elsa.App) -> None:
    task = app.every(1)(app.task(name="t")(lambda: None))

    with pytest.raises(DeclarationError, match="schedule 't' exists already\n  hint: give this one a name= of its own"):
        app.every(2)(task)


def test_a_handler_and_another_apps_task_are_refused(app: elsa.App) -> None:
    other = elsa.App(unique_name("other"))
    theirs = other.task(name="theirs")(lambda: None)
    handler = app.handler("orders", name="h")(lambda body: None)

    with pytest.raises(DeclarationError, match="theirs is a task of the App"):
        app.every(1)(theirs)
    with pytest.raises(DeclarationError, match="h is a handler of messages, a schedule calls a task"):
        app.every(1)(handler)
    other.stop()


def test_a_task_that_is_declared_above_its_schedule_says_so(app: elsa.App) -> None:
    with pytest.raises(DeclarationError, match=r"@app\.cron and @app\.every stand above @app\.task"):

        @app.task
        @app.every(1)
        def tick() -> None: ...


def test_there_is_room_for_so_many(app: elsa.App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "MOST_IN_SHARD", 2)
    task = app.task(name="t")(lambda: None)

    with pytest.raises(DeclarationError, match="there is no room for more"):
        for number in range(17):
            app.every(1, name=f"n{number}")(task)
    assert len(app.schedules) <= 2 * declared.SHARDS
