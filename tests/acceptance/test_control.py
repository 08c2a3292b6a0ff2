"""`elsa inspect` and `elsa control` reach the processes of `elsa worker` while all of their handlers are busy."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa import exits

from .driver import until

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import SetStage
    from .driver import Stage, Tree

pytestmark = pytest.mark.broker

#: every call tells its progress, then waits in its thread until the gate is there
APP = """
import json, logging, os, time
from pathlib import Path
import elsa

PLAN = json.loads(os.environ["TREE_PLAN"])
GATE, DONE = Path(os.environ["TREE_GATE"]), os.environ["TREE_DONE"]
app = elsa.App(PLAN["app"], **PLAN["settings"])


@app.handler(PLAN["topic"], name="work")
def work(body: str, ctx: elsa.Context) -> None:
    ctx.heartbeat({"page": 7})
    while body == "wait" and not GATE.exists():
        time.sleep(0.01)
    with open(DONE, "a") as done:
        done.write(f"{ctx.partition} {ctx.offset} {body}\\n")
"""


@dataclass
class Ran:
    code: int
    out: str
    err: str
    seconds: float

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Desk:
    """Workers on a stage, and a shell beside them."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.gate = folder / "gate"
        self.done_path = folder / "done"
        stage.source = APP

    def start(self, *argv: str) -> Tree:
        return self.stage.start(*argv, env={"TREE_GATE": str(self.gate), "TREE_DONE": str(self.done_path)})

    def run(self, *argv: str, name: str | None = None) -> Ran:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "elsa", *argv, "--name", name or self.stage.app],
            env=self.stage.environment,
            cwd=self.stage.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        ran = Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - began)
        print(f"{argv}: {ran.code} after {ran.seconds:.2f} s\n{ran.out}{ran.err}")
        return ran

    def send(self, *bodies: str, partition: int | None = None) -> None:
        count = self.stage.client.topics.partition_count(self.stage.topic)
        records = [
            elsa.Record(body, partition=number % count if partition is None else partition)
            for number, body in enumerate(bodies)
        ]
        self.stage.client.produce(self.stage.topic, records)

    @property
    def done(self) -> list[str]:
        """The bodies that were handled, in order."""
        if not self.done_path.exists():
            return []
        return [line.split()[2] for line in self.done_path.read_text().splitlines()]


@pytest.fixture
def desk(set_stage: SetStage, tmp_path: Path) -> Desk:
    return Desk(set_stage(partitions=2), tmp_path)


def test_two_processes_answer_while_every_thread_is_blocked(desk: Desk) -> None:
    """One thread each, which waits in its handler: they say who they are, what runs, and what they own."""
    tree = desk.start("--processes", "2", "-c", "1")
    tree.wait_ready(2)
    desk.send("wait", "wait")
    until(lambda: len(desk.run("inspect", "active", "--json").document) == 2, "both run")

    ping = desk.run("inspect", "ping", "--json")
    active = desk.run("inspect", "active", "--json")
    table = desk.run("inspect", "active", "--handler", "work")
    owned = desk.run("inspect", "assignments", "--json")
    config = desk.run("inspect", "config", "--json")
    stacks = desk.run("control", "stacks")
    desk.gate.touch()
    until(lambda: len(desk.done) == 2, "both are done")
    assert tree.stop() == exits.OK

    assert {each["pid"] for each in ping.document} <= {event["pid"] for event in tree.events("ready")}
    assert len(ping.document) == 2
    assert all(each["is_ready"] and each["running"] == 1 for each in ping.document)
    calls = active.document
    assert sorted((call["topic"], call["partition"], call["offset"]) for call in calls) == [
        (desk.stage.topic, 0, 0),
        (desk.stage.topic, 1, 0),
    ]
    assert all((call["handler"], call["attempt"], call["progress"]) == ("work", 1, {"page": 7}) for call in calls)
    assert len({call["worker"] for call in calls}) == 2
    assert table.out.count('{"page": 7}') == 2
    assert sorted((row["partition"], row["in_progress"], row["paused"]) for row in owned.document) == [
        (0, 1, None),
        (1, 1, None),
    ]
    settings = {row["name"]: row["value"] for row in config.document[0]["settings"]}
    assert (settings["name"], settings["processes"]) == (desk.stage.app, 2)
    assert stacks.out.count("while body ==") + stacks.out.count("time.sleep(0.01)") >= 2
    assert "elsa-group-" in stacks.out
    assert [ran.code for ran in (ping, active, table, owned, config, stacks)] == [exits.OK] * 6


def test_what_is_paused_is_not_handled_until_it_is_resumed(desk: Desk) -> None:
    """A partition, then everything of the handler; the calls that run meanwhile go on."""
    tree = desk.start("--processes", "2")
    tree.wait_ready(2)
    topic = desk.stage.topic
    until(lambda: len(desk.run("inspect", "assignments", "--json").document) == 2, "they share")

    one = desk.run("control", "pause", "--topic", topic, "--partition", "1", "--json")
    desk.send("a", partition=1)
    desk.send("b", partition=0)
    until(lambda: desk.done == ["b"], "the other partition goes on")
    paused = {row["partition"]: row["paused"] for row in desk.run("inspect", "assignments", "--json").document}
    everything = desk.run("control", "pause", "--handler", "work")
    desk.send("c", partition=0)
    first = desk.run("control", "resume", "--topic", topic, "--partition", "1")
    until(lambda: desk.done == ["b", "a"], "one partition goes on")
    second = desk.run("control", "resume", "--all")
    until(lambda: desk.done == ["b", "a", "c"], "all goes on")
    assert tree.stop() == exits.OK

    assert [place for each in one.document for place in each["partitions"]] == [{"topic": topic, "partition": 1}]
    assert paused == {0: None, 1: "operator"}
    assert f"paused {topic}[0]" in everything.out and f"paused {topic}[1]" in everything.out
    assert [ran.code for ran in (one, everything, first, second)] == [exits.OK] * 4


def test_a_command_that_cannot_be_obeyed_says_why(desk: Desk) -> None:
    tree = desk.start()
    tree.wait_ready()
    desk.run("inspect", "ping")

    nobody = desk.run("inspect", "ping", name="nobody-at-all")
    wrong = desk.run("control", "pause", "--handler", "wrok")
    whole = desk.run("control", "pause")
    lost = desk.run("inspect", "ping", "--worker", "elsewhere", "--timeout", "0.5")
    rate = desk.run("control", "rate", "work", "fast")
    assert tree.stop() == exits.OK
    gone = desk.run("inspect", "ping", "--timeout", "0.5")

    assert nobody.code == exits.NO_WORKER
    assert "there is no topic 'nobody-at-all.control'" in nobody.err
    assert wrong.code == exits.NOT_FOUND
    assert "there is no handler wrok here" in wrong.err
    assert "handlers work" in wrong.err
    assert whole.code == exits.USAGE
    assert "say what to pause" in whole.err
    assert lost.code == exits.NO_WORKER
    assert "asked was elsewhere" in lost.err
    assert rate.code == exits.USAGE
    assert "'fast' is not a rate" in rate.err
    assert gone.code == exits.NO_WORKER


def test_a_rate_and_a_log_level_are_changed_while_it_runs(desk: Desk) -> None:
    tree = desk.start()
    tree.wait_ready()

    slow = desk.run("control", "rate", "work", "1/h")
    desk.send(*["x"] * 4, partition=0)
    until(lambda: len(desk.done) == 1, "the first one starts at once")
    fast = desk.run("control", "rate", "work", "none")
    until(lambda: len(desk.done) == 4, "the others start")
    level = desk.run("control", "loglevel", "debug", "--json")
    desk.run("control", "loglevel", "error", "--logger", "elsa.worker", "--worker", "0")
    assert tree.stop() == exits.OK

    assert "work now at 1/h" in slow.out
    assert (slow.code, fast.code) == (exits.OK, exits.OK)
    assert [(each["logger"], each["level"], each["before"]) for each in level.document] == [("root", "debug", "info")]


def test_quiet_takes_no_more_and_stop_ends_the_supervisor_too(desk: Desk) -> None:
    """Only one process is told; its sibling hears of it by their supervisor."""
    tree = desk.start("--processes", "2")
    tree.wait_ready(2)
    names = sorted(each["worker"] for each in desk.run("inspect", "ping", "--json").document)

    asked = desk.run("control", "quiet", "--worker", names[0])
    quiet = desk.run("control", "quiet", "--worker", names[0], "--yes")
    until(
        lambda: [each["is_quiet"] for each in desk.run("inspect", "ping", "--json").document] == [True, True],
        "both are quiet",
    )
    stop = desk.run("control", "stop", "--worker", names[1], "--yes")
    code = tree.code()

    assert asked.code == exits.USAGE
    assert "add --yes" in asked.err
    assert (quiet.code, stop.code, code) == (exits.OK, exits.OK, exits.OK)
    assert stop.out.startswith(f"{names[1]}: stops")
    assert not tree.members()
    assert tree.events("replaced") == []
    assert [event["reason"] for event in tree.events("ended")] == ["stopped", "stopped"]


def test_a_killed_process_is_named_as_missing(desk: Desk) -> None:
    tree = desk.start()
    tree.wait_ready()
    (name,) = [each["worker"] for each in desk.run("inspect", "ping", "--json").document]
    tree.end()
    missing = desk.run("inspect", "ping", "--timeout", "5")

    assert missing.code == exits.NO_WORKER
    assert f"though {name} should" in missing.err
