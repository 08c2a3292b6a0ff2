"""How commands end that are cut short.

A reader that goes away (`elsa fetch t | head`) and ctrl-C are everyday endings: no traceback, the right exit code, and
no message that was sent without a word.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from elsa import exits

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics
    from tests.integration.cli.conftest import Elsa

pytestmark = pytest.mark.broker


def test_a_reader_that_goes_away_ends_the_reading_quietly(elsa: Elsa, topic: Topics) -> None:
    name = topic()
    elsa("produce", name, stdin="x" * 1000 + "\n" + ("y" * 1000 + "\n") * 500)
    process = elsa.start("fetch", name, "--json")
    assert process.stdout is not None

    first = json.loads(process.stdout.readline())
    process.stdout.close()
    process.wait(60)

    assert first["value"] == "x" * 1000
    assert process.returncode == exits.PIPE_CLOSED
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_ctrl_c_ends_the_following_without_a_traceback(elsa: Elsa, topic: Topics) -> None:
    name = topic()
    elsa("produce", name, "here")
    process = elsa.start("fetch", name, "--follow", "--start", "earliest", "--json")
    assert process.stdout is not None
    process.stdout.readline()

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (exits.INTERRUPTED, b"\n")


def test_ctrl_c_while_lines_are_typed_reports_what_was_sent(elsa: Elsa, topic: Topics) -> None:
    name = topic()
    process = elsa.start("produce", name, "--json")
    follower = elsa.start("fetch", name, "--follow", "--start", "earliest", "--json")
    assert process.stdin is not None
    assert follower.stdout is not None
    process.stdin.write(b"one\ntwo\n")
    process.stdin.flush()
    for _ in range(2):
        follower.stdout.readline()

    process.send_signal(signal.SIGINT)
    process.wait(60)

    assert process.stdout is not None
    assert process.stderr is not None
    assert process.returncode == exits.INTERRUPTED
    assert json.loads(process.stdout.read())["delivered"] == 2
    assert b"Traceback" not in process.stderr.read()


def on_a_terminal(elsa: Elsa, *arguments: str, stream: str = "stdout", **env: str) -> bytes:
    """What a command prints to a terminal, which is its `stream` alone."""
    ours, theirs = os.openpty()
    process = (
        elsa.start(*arguments, env=env, stdout=theirs)
        if stream == "stdout"
        else elsa.start(*arguments, env=env, stderr=theirs)
    )
    os.close(theirs)
    chunks = []
    with contextlib.suppress(OSError):  # that is how Linux says that the other end is closed
        while chunk := os.read(ours, 4096):
            chunks.append(chunk)
    os.close(ours)
    process.wait(60)
    return b"".join(chunks)


@pytest.mark.parametrize("command", ["fetch", "topics"])
def test_a_terminal_gets_colour_unless_no_color_is_set(command: str, elsa: Elsa, topic: Topics) -> None:
    name = topic()
    elsa("produce", name, "seen")
    arguments = ["fetch", name] if command == "fetch" else ["topics", "list"]

    coloured = on_a_terminal(elsa, *arguments, TERM="xterm")
    plain = on_a_terminal(elsa, *arguments, TERM="xterm", NO_COLOR="1")

    assert name.encode() in coloured
    assert name.encode() in plain
    assert b"\x1b[3" in coloured or b"\x1b[1m" in coloured
    assert b"\x1b[3" not in plain


def test_a_person_sees_how_far_a_file_has_been_sent(elsa: Elsa, topic: Topics) -> None:
    name = topic()
    (elsa.folder / "lines").write_text("x\n" * 3000)

    shown = on_a_terminal(elsa, "produce", name, "--from-file", "lines", stream="stderr", TERM="xterm")

    assert b"delivered" in shown
    assert b"0:00:0" in shown
