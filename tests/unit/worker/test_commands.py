"""What each command does to a process whose group managers only write down what they are told."""

from __future__ import annotations

import logging
import queue
from typing import TYPE_CHECKING, Any, cast

import pytest

import elsa
from elsa.control.protocol import Command, Target
from elsa.errors import CommandError, UnknownTarget
from elsa.message import TopicPartition
from elsa.observer import PartitionSnapshot
from elsa.worker import commands
from elsa.worker.commands import Commands
from elsa.worker.mailbox import Mailbox, Regulate
from elsa.worker.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.worker.group import GroupManager


class Owned:
    """Nothing runs here."""

    def __init__(self) -> None:
        self.owned: dict[TopicPartition, Any] = {}
        self.ending: set[Any] = set()


class Manager:
    """A group manager that has partition 0 of everything."""

    def __init__(self, name: str, bindings: list[Any]) -> None:
        self.name = name
        self.bindings = bindings
        self.assignment = Owned()
        self.mailbox = Mailbox()
        self.told: list[tuple[str, Target]] = []
        self.is_late = False
        self.is_ready = True

    def _answer(self, what: str, target: Target) -> queue.SimpleQueue[list[TopicPartition]]:
        self.told.append((what, target))
        answer: queue.SimpleQueue[list[TopicPartition]] = queue.SimpleQueue()
        if not self.is_late:
            answer.put([TopicPartition(binding.topic, 0) for binding in self.bindings])
        return answer

    def pause(self, target: Target) -> queue.SimpleQueue[list[TopicPartition]]:
        return self._answer("pause", target)

    def resume(self, target: Target) -> queue.SimpleQueue[list[TopicPartition]]:
        return self._answer("resume", target)

    def quiet(self) -> None:
        self.told.append(("quiet", Target()))

    def ask(self) -> queue.SimpleQueue[list[PartitionSnapshot]]:
        answer: queue.SimpleQueue[list[PartitionSnapshot]] = queue.SimpleQueue()
        answer.put(
            [PartitionSnapshot(b.group, b.topic, 0, b.name, 5, 5, 9, 0, 0, 0, 0, 0, None, None) for b in self.bindings]
        )
        return answer


class Desk:
    """The commands of a process with two groups; `wishes` is what its supervisor is told."""

    def __init__(self, app: elsa.App, *, is_supervised: bool = True) -> None:
        self.app = app
        self.wishes: list[str] = []
        self.runtime = Runtime(app, on_wish=self.wishes.append if is_supervised else None)
        groups: dict[str | None, list[Any]] = {}
        for binding in self.runtime.bindings:
            groups.setdefault(binding.group, []).append(binding)
        self.managers = {group: Manager(str(group), bindings) for group, bindings in groups.items()}
        self.runtime.managers = cast("list[GroupManager]", list(self.managers.values()))
        self._commands = Commands(self.runtime)

    def run(self, name: str, target: Target | None = None, **arguments: Any) -> Any:
        result, then = self._commands.obey(Command(name=name, id="1", target=target or Target(), arguments=arguments))
        if then is not None:
            then()
        return result


@pytest.fixture
def app() -> Iterator[elsa.App]:
    """Two handlers in a group each, and two tasks that share a topic."""
    app = elsa.App("desk", kafka={"sasl.password": "hush"})

    @app.handler("orders", name="bill", group="billing", rate="10/s")
    def bill(body: bytes) -> None: ...

    @app.handler("^visits-.*", name="count", group="counting")
    def count(body: bytes) -> None: ...

    @app.task(name="mail", topic="tasks", group="counting")
    def mail(to: str) -> None: ...

    @app.task(name="call", topic="tasks", group="counting")
    def call(to: str) -> None: ...

    yield app
    app.stop()


@pytest.fixture
def desk(app: elsa.App) -> Desk:
    return Desk(app)


def told(desk: Desk, group: str) -> list[str]:
    return [what for what, _ in desk.managers[group].told]


def test_an_unknown_command_is_refused_with_those_there_are(desk: Desk) -> None:
    with pytest.raises(CommandError, match=r"unknown command 'dance': this worker knows ping, active, .*stop"):
        desk.run("dance")


@pytest.mark.parametrize(
    ("target", "groups"),
    [
        ({}, ["billing", "counting"]),
        ({"handler": "bill"}, ["billing"]),
        ({"group": "counting"}, ["counting"]),
        ({"topic": "orders", "partition": 3}, ["billing"]),
        ({"topic": "orders.billing.retry"}, ["billing"]),
        ({"topic": "visits-2026"}, ["counting"]),
        ({"topic": "tasks"}, ["counting"]),
        ({"worker": "desk-host-0"}, ["billing", "counting"]),
    ],
)
def test_a_pause_is_told_to_the_groups_that_it_concerns(desk: Desk, target: dict[str, Any], groups: list[str]) -> None:
    found = desk.run("pause", Target(**target))

    assert [group for group in ("billing", "counting") if told(desk, group) == ["pause"]] == groups
    # which process is meant was settled before
    target.pop("worker", None)
    assert desk.managers[groups[0]].told == [("pause", Target(**target))]
    assert found["late"] == []
    assert {place["partition"] for place in found["partitions"]} == {0}


@pytest.mark.parametrize("name", ["pause", "resume", "rate", "active", "assignments"])
@pytest.mark.parametrize(
    ("target", "what"),
    [({"handler": "bil"}, "handler bil"), ({"handler": "bill", "group": "counting"}, "handler bill, group counting")],
)
def test_what_is_not_here_is_told_with_what_is(desk: Desk, name: str, target: dict[str, Any], what: str) -> None:
    with pytest.raises(UnknownTarget) as caught:
        desk.run(name, Target(**target), rate="5/s")

    assert f"there is no {what} here" in str(caught.value)
    assert "handlers bill, count, mail, call; groups billing, counting; topics" in str(caught.value)


def test_a_manager_that_is_in_a_hook_is_named_and_not_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_MANAGER_SECONDS", 0.0)
    desk.managers["billing"].is_late = True
    found = desk.run("resume")

    assert found["late"] == ["billing"]
    assert {place["topic"] for place in found["partitions"]} == {"^visits-.*", "tasks"}


def test_one_of_several_tasks_cannot_be_paused_and_all_of_them_can(desk: Desk) -> None:
    with pytest.raises(CommandError, match=r"mail shares its topic with other tasks\n  hint: name the topic tasks"):
        desk.run("pause", Target(handler="mail"))
    assert told(desk, "counting") == []

    desk.run("pause", Target(topic="tasks"))
    assert told(desk, "counting") == ["pause"]


@pytest.mark.parametrize(("rate", "per_second"), [("5/s", 5.0), ("30/m", 0.5), (2, 2.0), ("none", None), (None, None)])
def test_a_rate_is_set_and_its_manager_told(desk: Desk, rate: Any, per_second: float | None) -> None:
    handler = desk.app.registry["bill"]
    found = desk.run("rate", Target(handler="bill"), rate=rate)
    pace = desk.runtime._around.paces.of(handler)

    assert found == {"handler": "bill", "rate": per_second}
    assert (pace.here if pace is not None else None) == per_second
    assert desk.managers["billing"].mailbox.drain() == [Regulate(handler)]
    assert desk.managers["counting"].mailbox.drain() == []


@pytest.mark.parametrize(
    ("target", "rate", "text"),
    [
        ({"handler": "bill"}, "fast", "rate='fast' is not a rate above 0"),
        ({"handler": "bill"}, -1, "rate=-1 is not a rate above 0"),
        ({"topic": "orders"}, "1/s", "a rate is a handler's"),
        ({"handler": "mail"}, "1/s", "the task mail shares its pool with call"),
    ],
)
def test_a_rate_that_cannot_be_set_says_why(desk: Desk, target: dict[str, Any], rate: Any, text: str) -> None:
    with pytest.raises(CommandError) as caught:
        desk.run("rate", Target(**target), rate=rate)

    assert text in str(caught.value)
    assert desk.managers["billing"].mailbox.drain() == []


@pytest.mark.parametrize("logger", ["", "elsa.unit.commands"])
def test_a_log_level_is_set_and_the_one_of_before_told(desk: Desk, logger: str) -> None:
    found = logging.getLogger(logger)
    before = found.level
    try:
        result = desk.run("loglevel", level="ERROR", logger=logger)
        assert found.level == logging.ERROR
    finally:
        found.setLevel(before)

    assert result == {"logger": logger or "root", "level": "error", "before": logging.getLevelName(before).lower()}


@pytest.mark.parametrize("level", ["loud", None, 7])
def test_a_wrong_log_level_is_refused(desk: Desk, level: Any) -> None:
    with pytest.raises(CommandError, match="is none of debug, info"):
        desk.run("loglevel", level=level)


def test_quiet_holds_here_at_once_and_then_for_all_of_the_supervisor(desk: Desk) -> None:
    assert desk.run("quiet") == {"running": 0}

    assert told(desk, "billing") == told(desk, "counting") == ["quiet"]
    assert desk.wishes == ["quiet"]
    assert desk.run("ping")["is_quiet"]


def test_stop_is_the_supervisors_and_in_another_program_nobodys(desk: Desk, app: elsa.App) -> None:
    desk.run("stop")
    assert desk.wishes == ["stop"]

    embedded = Desk(app, is_supervised=False)
    with pytest.raises(CommandError, match="runs inside another program"):
        embedded.run("stop")
    assert embedded.run("quiet") == {"running": 0}


def test_the_configuration_hides_secrets(desk: Desk) -> None:
    rows = {row["name"]: row for row in desk.run("config")}

    assert rows["name"] == {"name": "name", "value": "desk", "source": "argument"}
    assert "hush" not in str(rows)


def test_assignments_are_those_of_what_is_named(desk: Desk) -> None:
    assert [row["topic"] for row in desk.run("assignments")] == ["orders", "^visits-.*", "tasks"]
    (row,) = desk.run("assignments", Target(handler="bill"))

    assert (row["topic"], row["handler"], row["committed"], row["high_watermark"]) == ("orders", "bill", 5, 9)
    assert [row["topic"] for row in desk.run("assignments", Target(handler="mail"))] == ["tasks"]
    assert desk.run("assignments", Target(topic="orders", partition=1)) == []


def test_stacks_are_those_of_all_threads(desk: Desk) -> None:
    text = desk.run("stacks")

    assert "Thread MainThread (" in text
    assert "test_stacks_are_those_of_all_threads" in text


def test_a_call_in_a_child_process_has_no_stack_to_show(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    call = {"handler": "bill", "topic": "orders", "partition": 1, "offset": 7, "seconds": 2.0}
    monkeypatch.setattr(desk.runtime, "running", lambda: [call])

    assert "Call of bill, orders[1] offset 7, for 2.0 s:\n  (in a child process)\n" in desk.run("stacks")
