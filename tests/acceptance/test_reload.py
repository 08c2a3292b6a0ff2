"""`elsa worker --reload` on a real Kafka: files are edited while it runs, and what it does next is looked at.

The story is that of an afternoon: changes are saved, some of them broken, the first start among them; handlers are
added; and no message is lost or handled twice for it.
"""

from __future__ import annotations

import os
import pty
import signal
from typing import TYPE_CHECKING, Any

import pytest

from elsa import exits

from .driver import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.testing.kafka import Topics

    from .conftest import SetStage
    from .driver import Tree

pytestmark = pytest.mark.broker

CTRL_C = b"\x03"
#: what the group's members say at their end of its generation
GENERATIONS = """

GENERATIONS = set()


@app.on_shutdown
def tell() -> None:
    print(json.dumps({"event": "generations", "seen": sorted(GENERATIONS)}), flush=True)
"""


def files(tree: Tree) -> list[Any]:
    """The names of what changed, by reload."""
    return [[os.path.basename(path) for path in entry["files"]] for entry in tree.events("reloading")]  # noqa: PTH119


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """(the keyboard, what a program gets as stdin) of a pseudo terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.slow
def test_three_reloads_under_load_lose_and_repeat_nothing_and_never_rebalance(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.source = stage.source.replace("note(1,", "GENERATIONS.add(ctx.generation); note(1,") + GENERATIONS
    stage.produce(30_000, seconds=0.001)
    tree = stage.start("--processes", "2", "--reload")
    stage.wait_shared(tree)
    for number in range(3):
        stage.wait_handled(stage.records // 2 + 500)
        stage.edit("app = elsa.App", f"# change {number}\napp = elsa.App")
        tree.wait_ready(2 * number + 4)
        stage.produce(2_000, seconds=0.001)
    account = stage.wait_all()
    assert tree.stop() == exits.OK

    print(account)
    assert files(tree) == [["handlers.py"]] * 3
    assert len(tree.events("ready")) == 8
    assert (account.lost, account.duplicates, account.disorder, account.overlaps) == (set(), 0, [], [])
    # the processes of all three go on in the generation that the group had
    seen = [set(entry["seen"]) for entry in tree.events("generations")]
    assert seen[2:] == [{max(seen[0] | seen[1])}] * 6


def test_a_change_is_at_work_when_it_is_saved_and_nothing_else_reloads(set_stage: SetStage) -> None:
    """Edits of one digit, as fast as they come: the same second and the same size are a change all the same."""
    stage = set_stage()
    stage.source = stage.source.replace("    note(1,", '    print("version 0 handled", event.id)\n    note(1,')
    tree = stage.start("--reload", json_logs=False, env={"PYTHONUNBUFFERED": "1"})
    until(lambda: "is ready" in tree.log, "it is ready")
    for number in range(1, 4):
        stage.edit(f"version {number - 1} handled", f"version {number} handled")
        until(lambda number=number: tree.log.count("is ready") > number, "the change is at work")  # type: ignore[misc]  # bound now
        stage.produce(6)
        stage.wait_all()

    assert [tree.log.count(f"version {number} handled") for number in range(4)] == [0, 6, 6, 6]
    assert tree.log.count("reloading: handlers.py changed") == 3
    assert tree.stop() == exits.OK


def test_running_handlers_finish(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.produce(6, seconds=2)
    stage.produce(600)
    tree = stage.start("--reload")
    until(lambda: len(stage.calls()) == 6, "all six are running")
    stage.edit("app = elsa.App", "# changed\napp = elsa.App")
    tree.wait_ready(2)
    account = stage.wait_all()

    assert tree.stop() == exits.OK
    assert (account.lost, account.duplicates) == (set(), 0)
    assert len({call.pid for call in account.calls}) == 2


def test_broken_code_is_shown_and_nothing_is_handled_until_it_is_repaired(set_stage: SetStage) -> None:
    stage = set_stage()
    tree = stage.start("--processes", "2", "--reload", json_logs=False)
    until(lambda: tree.log.count("is ready") == 2, "both are ready")
    stage.produce(60)
    stage.wait_all()
    stage.edit("elsa.Context) -> None:", "elsa.Context) -> None")
    until(lambda: "waiting for a change" in tree.log, "the error is told")
    until(lambda: tree.workers() == [], "nothing runs")
    stage.produce(60)

    line = next(n for n, text in enumerate(stage.source.splitlines(), 1) if text.endswith("-> None"))
    assert f'handlers.py", line {line}\n' in tree.log
    assert tree.log.count("SyntaxError: expected ':'") == 1
    assert "Traceback" not in tree.log
    assert stage.records == 120

    stage.edit("elsa.Context) -> None", "elsa.Context) -> None:")
    account = stage.wait_all()
    assert (account.lost, account.duplicates) == (set(), 0)
    assert tree.stop() == exits.OK


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("import elsa\n", "import elsa\nimport no_such_module\n", "No module named 'no_such_module'"),
        ('**PLAN["options"]', 'orderin="key"', "did you mean 'ordering'?\n  at "),
        ("app = elsa.App(", "ap = elsa.App(", "NameError: name 'app' is not defined"),
        ("import json,", "raise SystemExit(3)\nimport json,", "the module 'handlers' ended the program"),
        ("import json,", "import os; os._exit(9)\nimport json,", "ended with exit code 9 before it had started"),
    ],
)
def test_a_first_start_that_fails_waits_for_the_next_change(
    set_stage: SetStage, right: str, wrong: str, told: str
) -> None:
    stage = set_stage()
    stage.source = stage.source.replace(right, wrong, 1)
    tree = stage.start("--reload", json_logs=False)
    until(lambda: "waiting for a change" in tree.log, "the error is told")
    assert told in tree.log
    stage.produce(6)

    stage.edit(wrong, right)
    account = stage.wait_all()
    assert tree.log.count("reloading: handlers.py changed") == 1
    assert account.duplicates == 0
    assert tree.stop() == exits.OK


def test_one_ctrl_c_ends_it_while_it_waits(set_stage: SetStage, terminal: tuple[int, int]) -> None:
    keyboard, stdin = terminal
    stage = set_stage()
    stage.source = "import no_such_module\n"
    tree = stage.start("--processes", "2", "--reload", json_logs=False, terminal=stdin)
    until(lambda: "waiting for a change" in tree.log, "the error is told")
    os.write(keyboard, CTRL_C)

    assert tree.code(18) == exits.OK
    assert tree.members() == []


def test_an_import_that_hangs_is_given_up_for_the_next_change_and_for_ctrl_c(set_stage: SetStage) -> None:
    stage = set_stage()
    right = stage.source
    hangs = 'import time; print("hanging", flush=True); time.sleep(600)\n' + right
    stage.source = hangs
    stage.produce(6)
    tree = stage.start("--reload")
    until(lambda: "hanging" in tree.log, "the import hangs")
    stage.edit(hangs, right)
    stage.wait_all()

    stage.edit(right, hangs)
    until(lambda: tree.log.count("hanging") == 2, "the import hangs again")
    tree.signal(signal.SIGINT)
    assert tree.code(18) == exits.OK
    assert tree.members() == []


def test_handlers_topics_and_groups_may_come_and_go(set_stage: SetStage, topic: Topics) -> None:
    stage = set_stage()
    second, third = topic(2), topic(3)
    tree = stage.start("--reload", json_logs=False, env={"PYTHONUNBUFFERED": "1"})
    until(lambda: "is ready" in tree.log, "it is ready")
    stage.produce(60)
    stage.wait_all()
    more = f"""

@app.handler("{second}")
def same_group(body: dict) -> None:
    print("second", body)


@app.handler("{third}", group=PLAN["app"] + "-other")
def other_group(body: dict) -> None:
    print("third", body)
"""
    stage.source += more
    stage.save()
    for name, word in ((second, "second"), (third, "third")):
        stage.client.produce(name, [b"{}"] * 4)
        until(lambda word=word: tree.log.count(word + " {}") == 4, f"the handler of {name} is called")  # type: ignore[misc]  # bound now
    stage.produce(60)
    account = stage.wait_all()
    assert tree.log.count(f"topics {second} (2 partitions)") == 1

    stage.edit(more, "")
    until(lambda: tree.log.count("is ready") == 3, "it is ready without them")
    stage.client.produce(second, b"{}")
    stage.produce(60)
    account = stage.wait_all()
    assert tree.stop() == exits.OK
    assert tree.log.count("second {}") == 4
    assert (account.lost, account.duplicates) == (set(), 0)


def test_settings_count_as_code(set_stage: SetStage) -> None:
    stage = set_stage()
    tree = stage.start("--reload")
    tree.wait_ready()
    fresh = stage.folder / "elsa.toml.new"
    fresh.write_text("processes = 3\n")
    fresh.rename(stage.folder / "elsa.toml")
    until(lambda: len(tree.workers()) == 3, "there are three processes")

    def is_shared() -> bool:
        stage.produce(12)
        return set(tree.workers()) <= {call.pid for call in stage.calls()}

    until(is_shared, "all three handle messages")
    fresh.write_text("processes = 1\n")
    fresh.rename(stage.folder / "elsa.toml")
    until(lambda: len(tree.workers()) == 1, "there is one process")
    stage.produce(600)
    account = stage.wait_all()

    assert tree.stop() == exits.OK
    assert files(tree) == [["elsa.toml"]] * 2
    assert (account.lost, account.duplicates) == (set(), 0)
