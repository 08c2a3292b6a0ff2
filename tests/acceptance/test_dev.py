"""`elsa dev` as somebody uses it who writes an app: one command from an empty machine to handled messages, edits
while it runs, ctrl-C, and nothing that is left of it: no Java, no Python.
"""

from __future__ import annotations

import os
import pty
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.broker.ports import free_ports
from elsa.kafka import probe
from elsa.testing.kafka import require_embedded, unique_name

from .driver import Stage, Tree, stage, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import SetStage

pytestmark = pytest.mark.broker

CTRL_C = b"\x03"


@pytest.fixture
def keyboard_and_stdin() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Stage]:
    """A stage without a Kafka: its address is a port at which nothing listens."""
    require_embedded()
    (port,) = free_ports(1)
    with stage(f"127.0.0.1:{port}", unique_name("dev"), tmp_path) as made:
        yield made


def ready(tree: Tree, count: int = 1) -> None:
    until(lambda: tree.log.count("is ready") >= count or tree.process.poll() is not None, "the worker is ready")


def is_answering(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def java_of(tree: Tree) -> list[int]:
    """The brokers among its processes."""
    return [pid for pid in tree.members() if b"kafka.Kafka" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - no file of the disk
            return file.read()
    except OSError:
        return b""


def test_from_nothing_to_edited_handlers_and_away_again(alone: Stage, keyboard_and_stdin: tuple[int, int]) -> None:
    keyboard, stdin = keyboard_and_stdin
    alone.source = alone.source.replace("    note(1,", '    print("version 1 handled", flush=True)\n    note(1,')
    tree = alone.start("--ephemeral", command="dev", json_logs=False, terminal=stdin)
    ready(tree)
    assert f"answers at {alone.brokers} (topics are thrown away at the end)" in tree.log
    assert len(java_of(tree)) == 1
    alone.produce(6)
    alone.wait_all()

    alone.edit("version 1", "version 2")
    ready(tree, 2)
    alone.produce(6)
    alone.wait_all()
    assert [tree.log.count(f"version {number} handled") for number in (1, 2)] == [6, 6]

    alone.edit("elsa.Context) -> None:", "elsa.Context) -> None")
    until(lambda: "waiting for a change" in tree.log, "the error is told")
    alone.produce(6)
    alone.edit("elsa.Context) -> None", "elsa.Context) -> None:")
    account = alone.wait_all()

    os.write(keyboard, CTRL_C)
    assert tree.code() == exits.OK
    assert tree.members() == []
    assert not is_answering(alone.brokers)
    assert (account.lost, account.duplicates) == (set(), 0)


def test_topics_and_what_was_handled_are_kept_until_the_next_time(alone: Stage, tmp_path: Path) -> None:
    for count in (6, 12):
        tree = alone.start("--data-dir", str(tmp_path / "data"), command="dev", json_logs=False)
        ready(tree)
        assert f"topics are kept in {tmp_path / 'data'}" in tree.log
        alone.produce(6)
        account = alone.wait_all()
        assert tree.stop() == exits.OK
        assert tree.members() == []
        assert len(account.started) == count
        assert account.duplicates == 0


def test_a_kafka_that_runs_already_is_used_and_left_running(set_stage: SetStage) -> None:
    stage = set_stage()
    tree = stage.start(command="dev", json_logs=False)
    ready(tree)
    assert f"Kafka answers at {stage.brokers} already: it is used, and left running" in tree.log
    assert java_of(tree) == []
    stage.produce(6)
    stage.wait_all()
    tree.signal(signal.SIGINT)

    assert tree.code() == exits.OK
    assert tree.members() == []
    assert stage.topic in probe.list_topics(stage.brokers)


def test_something_else_at_the_port_is_one_clear_error(alone: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        tree = alone.start("--port", str(port), command="dev", json_logs=False)

        assert tree.code() == exits.USAGE
    assert f"error: port {port} of this machine is taken by something that does not answer as Kafka" in tree.log
    assert "Traceback" not in tree.log


def test_ctrl_c_while_kafka_is_starting_leaves_nothing(alone: Stage, keyboard_and_stdin: tuple[int, int]) -> None:
    keyboard, stdin = keyboard_and_stdin
    tree = alone.start("--ephemeral", command="dev", json_logs=False, terminal=stdin)
    until(lambda: java_of(tree) or tree.process.poll() is not None, "Kafka is starting")
    os.write(keyboard, CTRL_C)

    assert tree.code() == exits.INTERRUPTED
    until(lambda: tree.members() == [], "nothing is left")
    assert "Traceback" not in tree.log


def test_a_first_start_that_fails_waits_with_kafka_running(alone: Stage) -> None:
    right, alone.source = alone.source, "import no_such_module\n"
    tree = alone.start("--ephemeral", command="dev", json_logs=False)
    until(lambda: "waiting for a change" in tree.log, "the error is told")
    assert "No module named 'no_such_module'" in tree.log
    alone.edit(alone.source, right)
    ready(tree)
    alone.produce(6)
    alone.wait_all()

    tree.signal(signal.SIGINT)
    assert tree.code() == exits.OK
    assert tree.members() == []


def test_a_broker_that_dies_ends_it_with_the_reason(alone: Stage) -> None:
    tree = alone.start("--ephemeral", command="dev", json_logs=False)
    ready(tree)
    (java,) = java_of(tree)
    os.kill(java, signal.SIGKILL)

    assert tree.code() == exits.FAILED
    assert "error: node-1 of the embedded broker stopped (exit code -9)" in tree.log
    assert tree.members() == []


def test_nothing_is_left_when_it_is_killed(alone: Stage) -> None:
    tree = alone.start("--ephemeral", "--processes", "2", command="dev", json_logs=False)
    ready(tree, 2)
    tree.signal(signal.SIGKILL)

    tree.wait_gone()
    assert not is_answering(alone.brokers)
