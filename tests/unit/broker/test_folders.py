from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from elsa.broker.folders import cache_folder, data_folder, lock, require_room
from elsa.errors import DataDirectoryError

if TYPE_CHECKING:
    from pathlib import Path

_HOLDER = """
import sys, pathlib
from elsa.broker.folders import lock
held = lock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_platforms_variables_decide_where_things_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    assert tmp_path / "cache" / "elsa" == cache_folder()
    assert tmp_path / "data" / "elsa" / "kafka" == data_folder(1)
    assert tmp_path / "data" / "elsa" / "kafka-3" == data_folder(3)


@pytest.mark.parametrize(("platform", "expected"), [("linux", ".cache/elsa"), ("darwin", "Library/Caches/elsa")])
def test_without_variables_the_cache_is_below_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setattr(sys, "platform", platform)

    assert tmp_path / expected == cache_folder()


def test_a_full_disk_is_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryError, match=r"is full: 199 MB are free, 200 MB are needed\n  hint: free some"):
        require_room(tmp_path / "new", 200_000_000, free=lambda _: 199_000_000)


def test_room_is_measured_at_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    require_room(tmp_path / "not" / "yet", 1)


def test_a_folder_in_use_names_the_process_that_holds_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"

        with pytest.raises(DataDirectoryError, match=f"is in use by process {holder.pid}\n  hint: stop that one"):
            lock(tmp_path)

        holder.communicate()

    lock(tmp_path).release()


def test_a_lock_whose_program_is_gone_is_waited_for(tmp_path: Path) -> None:
    """The keeper of a killed program holds the lock until its brokers have ended; its pid stands in the file."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    held = lock(tmp_path)
    (tmp_path / "lock").write_text(f'{{"pid": {ended.pid}}}')
    waiting = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=(held.descriptor,)
    )
    held.release()
    with pytest.raises(DataDirectoryError, match="is in use"):
        lock(tmp_path, handover_seconds=0.2)
    waiting.communicate()

    again = lock(tmp_path, handover_seconds=0.2)
    again.release()

    assert f'{{"pid": {os.getpid()}}}' == (tmp_path / "lock").read_text()


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DataDirectoryError, match="cannot be written: Not a directory"):
        lock(tmp_path / "file" / "data")
