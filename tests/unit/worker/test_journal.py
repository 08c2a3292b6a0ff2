"""What ran when a process ended is known to its successor, once, and nothing that an orderly end cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from elsa.message import TopicPartition
from elsa.worker import journal as module
from elsa.worker.journal import Journal, Trace

if TYPE_CHECKING:
    from pathlib import Path

ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)


def opened(path: Path) -> Journal:
    journal = Journal.open(path)
    assert journal is not None
    return journal


def run(journal: Journal, partition: TopicPartition, *offsets: int, group: str = "g") -> list[int]:
    """Turns that have each begun a message."""
    cells = []
    for offset in offsets:
        cell = journal.enter(journal.place(group, partition))
        journal.words[cell + 1] = offset
        cells.append(cell)
    return cells


def test_what_ran_is_known_to_the_next_process(tmp_path: Path) -> None:
    first = opened(tmp_path / "j")
    run(first, ZERO, 3, 8)
    run(first, ONE, 5)
    run(first, ONE, 5, group="other")
    over = run(first, ZERO, 9)
    first.leave(over[0])
    # taken, and nothing had begun
    first.enter(first.place("g", ZERO))
    second = opened(tmp_path / "j")

    assert second.traces("g", ZERO) == [Trace("g", ZERO, 3, 3), Trace("g", ZERO, 8, 8)]
    assert second.traces("g", ONE) == [Trace("g", ONE, 5, 5)]
    assert second.traces("other", ONE) == [Trace("other", ONE, 5, 5)]
    assert second.traces("g", TopicPartition("t", 2)) == []


def test_a_batch_leaves_its_span(tmp_path: Path) -> None:
    first = opened(tmp_path / "j")
    first.enter(first.place("g", ZERO), 4, 9)

    assert opened(tmp_path / "j").traces("g", ZERO) == [Trace("g", ZERO, 4, 9)]


def test_a_death_is_told_until_it_is_counted_and_never_again(tmp_path: Path) -> None:
    run(opened(tmp_path / "j"), ZERO, 3)
    # it got other partitions, and died, too
    second = opened(tmp_path / "j")
    run(second, ONE, 7)
    third = opened(tmp_path / "j")
    assert third.traces("g", ZERO) == [Trace("g", ZERO, 3, 3)]
    third.forget("g", ZERO)
    assert third.traces("g", ZERO) == []
    fourth = opened(tmp_path / "j")

    assert fourth.traces("g", ZERO) == []
    assert fourth.traces("g", ONE) == [Trace("g", ONE, 7, 7)]


def test_two_deaths_of_one_message_are_two(tmp_path: Path) -> None:
    for _ in range(2):
        run(opened(tmp_path / "j"), ZERO, 3)

    assert opened(tmp_path / "j").traces("g", ZERO) == [Trace("g", ZERO, 3, 3)] * 2


def test_an_orderly_end_blames_nobody_but_forgets_no_death(tmp_path: Path) -> None:
    run(opened(tmp_path / "j"), ZERO, 3)
    second = opened(tmp_path / "j")
    run(second, ONE, 7)
    second.disarm()
    third = opened(tmp_path / "j")

    assert third.traces("g", ONE) == []
    assert third.traces("g", ZERO) == [Trace("g", ZERO, 3, 3)]


def test_a_turn_that_is_over_gives_its_cell_to_the_next(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    (cell,) = run(journal, ZERO, 3)
    journal.leave(cell)

    assert run(journal, ZERO, 4) == [cell]
    assert opened(tmp_path / "j").traces("g", ZERO) == [Trace("g", ZERO, 4, 4)]


def test_more_turns_than_cells_run_unnoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COUNT", 2)
    journal = opened(tmp_path / "j")
    place = journal.place("g", ZERO)

    assert [journal.enter(place) > 0 for _ in range(3)] == [True, True, False]


def test_places_without_room_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path / "j")
    monkeypatch.setattr(module, "_CELLS", 64 + 20)

    assert journal.place("g", ZERO) == 1
    assert journal.place("g", ONE) == 0
    assert journal.place("g", ZERO) == 1


@pytest.mark.parametrize("content", [b"", b"junk" * 100, b"ELSAJ1\0\0" + b"\xff" * 5_000])
def test_a_damaged_file_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j").write_bytes(content)
    journal = opened(tmp_path / "j")
    run(journal, ZERO, 1)

    assert opened(tmp_path / "j").traces("g", ZERO) == [Trace("g", ZERO, 1, 1)]


def test_without_a_place_for_it_work_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Journal.open(tmp_path / "no" / "folder") is None
    assert [record.__dict__["event"] for record in caplog.records] == ["journal_unusable"]


def test_it_outlives_kill_9(tmp_path: Path) -> None:
    text = (
        "import os, signal, pathlib\n"
        "from elsa.message import TopicPartition\n"
        "from elsa.worker.journal import Journal\n"
        f"journal = Journal.open(pathlib.Path({str(tmp_path / 'j')!r}))\n"
        "cell = journal.enter(journal.place('g', TopicPartition('t', 0)))\n"
        "journal.words[cell + 1] = 11\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], check=False, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL

    assert opened(tmp_path / "j").traces("g", ZERO) == [Trace("g", ZERO, 11, 11)]
