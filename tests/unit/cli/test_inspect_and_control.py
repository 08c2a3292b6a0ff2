"""`elsa inspect` and `elsa control`: what they ask, what they print, how they end; with prepared answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from elsa import exits
from elsa.cli import cli
from elsa.clock import SYSTEM
from elsa.control.client import Answers, Caller
from elsa.control.protocol import Answer, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.testing import Result

CALL = {
    "handler": "bill",
    "group": "billing",
    "source": "orders",
    "topic": "orders",
    "partition": 3,
    "offset": 17,
    "key": "ann",
    "messages": 1,
    "attempt": 2,
    "seconds": 1.5,
    "progress": {"page": 7},
}
SNAPSHOT = {
    "group": "billing",
    "topic": "orders",
    "partition": 3,
    "handler": "bill",
    "committed": 17,
    "position": 17,
    "high_watermark": 20,
    "low_watermark": 0,
    "in_progress": 1,
    "buffered": 0,
    "uncommitted": 0,
    "head_attempts": 1,
    "oldest_timestamp": None,
    "paused": "operator",
}
PLACES = {"partitions": [{"topic": "orders", "partition": 3}, {"topic": "orders", "partition": 4}], "late": []}


class Desk:
    """Answers with what was prepared, and keeps what was asked."""

    def __init__(self) -> None:
        self.answers = Answers()
        self.asked: list[tuple[str, str, Target, dict[str, Any], float]] = []

    def prepare(self, *answers: Answer, expected: set[str] | None = None) -> None:
        self.answers = Answers({each.worker: each for each in answers}, expected or set())

    def run(self, *argv: str) -> Result:
        return CliRunner().invoke(cli, [*argv], env={"ELSA_NAME": "shop"})


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk()

    def call(
        self: Caller, name: str, target: Target, arguments: Mapping[str, Any] | None = None, *, timeout: float
    ) -> Answers:
        desk.asked.append((self._settings.name, name, target, dict(arguments or {}), timeout))
        return desk.answers

    monkeypatch.setattr(Caller, "call", call)
    return desk


def done(result: Any, worker: str = "w-0") -> Answer:
    return Answer(id="1", worker=worker, result=result)


def test_ping_shows_who_is_there(desk: Desk) -> None:
    facts = {
        "host": "h",
        "pid": 17,
        "slot": 0,
        "version": "0.1.0",
        "running": 2,
        "is_ready": True,
        "is_stopping": False,
    }
    started = SYSTEM.now() - 3_723
    desk.prepare(
        done({**facts, "is_quiet": False, "started_at": started}),
        done({**facts, "is_quiet": True, "started_at": started}, "w-1"),
        done({**facts, "is_ready": False, "is_quiet": False, "started_at": started}, "w-2"),
        done({**facts, "is_stopping": True, "is_quiet": True, "started_at": started}, "w-3"),
    )
    shown = desk.run("inspect", "ping")
    rows = [line.split() for line in shown.stdout.splitlines()]

    assert rows[0] == ["worker", "host", "pid", "version", "state", "running", "up"]
    assert [row[4] for row in rows[1:]] == ["ready", "quiet", "starting", "stopping"]
    assert rows[1][:4] == ["w-0", "h", "17", "0.1.0"]
    assert rows[1][6].startswith("1:02:")
    assert shown.exit_code == exits.OK
    assert desk.asked == [("shop", "ping", Target(), {}, 2.0)]


def test_active_shows_the_longest_first(desk: Desk) -> None:
    desk.prepare(done([CALL]), done([{**CALL, "seconds": 9.0, "progress": "x" * 50, "key": None}], "w-1"))
    table = desk.run("inspect", "active", "-H", "bill")
    document = json.loads(desk.run("inspect", "active", "--json").stdout)
    rows = [line.split() for line in table.stdout.splitlines()]

    assert rows[1][:8] == ["w-1", "bill", "orders", "3", "17", "-", "2", "9.0"]
    assert rows[1][8] == "x" * 39 + "…"
    assert rows[2][:8] == ["w-0", "bill", "orders", "3", "17", "ann", "2", "1.5"]
    assert '{"page": 7}' in table.stdout
    assert [row["worker"] for row in document] == ["w-1", "w-0"]
    assert document[1] == {"worker": "w-0", **CALL}
    assert desk.asked[0][2] == Target(handler="bill")


def test_that_nothing_runs_is_said(desk: Desk) -> None:
    desk.prepare(done([]), done([], "w-1"))
    shown = desk.run("inspect", "active")

    assert "nothing runs in 2 worker processes" in shown.stderr
    assert json.loads(desk.run("inspect", "active", "--json").stdout) == []


def test_assignments_have_a_lag_and_say_why_they_are_paused(desk: Desk) -> None:
    unknown = {**SNAPSHOT, "partition": 4, "committed": -1, "paused": None}
    alone = {**SNAPSHOT, "partition": 5, "committed": -1, "position": 19, "group": None, "paused": None}
    desk.prepare(done([unknown, SNAPSHOT, alone]))
    rows = [line.split() for line in desk.run("inspect", "assignments").stdout.splitlines()]

    assert rows[1:] == [
        ["orders", "3", "bill", "billing", "w-0", "17", "3", "1", "operator"],
        ["orders", "4", "bill", "billing", "w-0", "-1", "-", "1", "-"],
        ["orders", "5", "bill", "-", "w-0", "-1", "1", "1", "-"],
    ]


def test_workers_with_the_same_settings_are_shown_once(desk: Desk) -> None:
    rows = [{"name": "name", "value": "shop", "source": "argument"}]
    other = [{"name": "name", "value": "shop", "source": "environment"}]
    desk.prepare(done(rows), done(rows, "w-1"), done(other, "w-2"))
    shown = desk.run("inspect", "config")

    assert shown.stderr.splitlines() == ["w-0, w-1", "w-2"]
    assert shown.stdout.count("shop") == 2


@pytest.mark.parametrize(
    ("argv", "target"),
    [
        (["-H", "bill"], Target(handler="bill")),
        (["-g", "billing", "-w", "0"], Target(group="billing", worker="0")),
        (["-t", "orders", "-p", "3"], Target(topic="orders", partition=3)),
        (["--all"], Target()),
    ],
)
@pytest.mark.parametrize("name", ["pause", "resume"])
def test_a_pause_says_what_it_is_for(desk: Desk, name: str, argv: list[str], target: Target) -> None:
    desk.prepare(done(PLACES), done({"partitions": [], "late": ["billing"]}, "w-1"))
    shown = desk.run("control", name, *argv)

    assert desk.asked == [("shop", name, target, {}, 2.0)]
    assert shown.stdout.splitlines() == [
        f"w-0: {name}d orders[3], orders[4]",
        f"w-1: {name}d nothing that it has now (not confirmed yet by billing)",
    ]


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["control", "pause"], "say what to pause: --handler, --group, --topic, or --all"),
        (["control", "resume", "-w", "0"], "say what to resume"),
        (["control", "pause", "-p", "3"], "-p names a partition of a topic: add -t TOPIC"),
        (["control", "rate", "bill", "fast"], "'fast' is not a rate above 0"),
        (["control", "rate", "bill", "0"], "'0' is not a rate above 0"),
        (["control", "loglevel", "loud"], "'loud' is not one of"),
        (["control", "stop"], "Tell the workers (all of shop) to stop? Nobody can answer here: add --yes"),
        (["control", "quiet", "-w", "w-0"], "Tell the workers (w-0) to take no more work?"),
        (["inspect", "ping", "--timeout", "soon"], "'soon' is not a duration"),
    ],
)
def test_what_is_asked_wrongly_reaches_nobody(desk: Desk, argv: list[str], text: str) -> None:
    shown = desk.run(*argv)

    assert shown.exit_code == exits.USAGE
    assert text in shown.stderr
    assert desk.asked == []


@pytest.mark.parametrize(("given", "sent"), [("10/m", "10/m"), ("5", "5/s"), ("none", "none")])
def test_a_rate_is_of_a_handler(desk: Desk, given: str, sent: str) -> None:
    desk.prepare(done({"handler": "bill", "rate": 5.0}))
    shown = desk.run("control", "rate", "bill", given, "-w", "0")

    assert desk.asked == [("shop", "rate", Target(handler="bill", worker="0"), {"rate": sent}, 2.0)]
    assert shown.stdout == f"w-0: bill now at {sent}\n"


def test_stacks_loglevel_quiet_and_stop(desk: Desk) -> None:
    desk.prepare(done("Thread MainThread (1):\n  here"))
    assert desk.run("control", "stacks").stdout == "Thread MainThread (1):\n  here\n"
    desk.prepare(done({"logger": "root", "level": "debug", "before": "info"}))
    assert desk.run("control", "loglevel", "debug").stdout == "w-0: root logs debug, before info\n"
    desk.prepare(done({"running": 2}))
    assert desk.run("control", "quiet", "-y").stdout == "w-0: takes no more, 2 calls are running\n"
    assert desk.run("control", "stop", "-y", "-w", "w-0").stdout == "w-0: stops, 2 calls are running\n"

    assert desk.asked[1][3] == {"level": "debug", "logger": ""}
    assert desk.asked[3][2] == Target(worker="w-0")


def test_who_refused_or_did_not_answer_is_named_beside_the_others(desk: Desk) -> None:
    desk.prepare(done(PLACES), Answer(id="1", worker="w-1", error="not so"), expected={"w-0", "w-1", "w-2"})
    shown = desk.run("control", "pause", "--all", "--json", "--timeout", "500ms", "--name", "other")

    assert json.loads(shown.stdout) == [{"worker": "w-0", **PLACES}]
    assert shown.stderr.splitlines() == ["error: w-1: not so", "error: w-2: no answer within 0.5 s"]
    assert shown.exit_code == exits.FAILED
    assert desk.asked[0][0] == "other"


@pytest.mark.parametrize(
    ("answers", "expected", "code"),
    [
        ([], {"w-0"}, exits.NO_WORKER),
        ([], set(), exits.NO_WORKER),
        ([Answer(id="1", worker="w-0", error="nothing", is_absent=True)], {"w-0"}, exits.NOT_FOUND),
        ([Answer(id="1", worker="w-0", error="not so")], {"w-0"}, exits.FAILED),
    ],
)
def test_where_nobody_has_done_it_the_code_says_why(
    desk: Desk, answers: list[Answer], expected: set[str], code: int
) -> None:
    desk.prepare(*answers, expected=expected)
    shown = desk.run("inspect", "assignments", "--json")

    assert shown.exit_code == code
    assert shown.stdout == ""
    assert shown.stderr.startswith("error: ")
