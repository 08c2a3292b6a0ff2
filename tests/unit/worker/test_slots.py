from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from elsa.errors import ConfigError
from elsa.worker import slots
from elsa.worker.slots import acquire, folders


def test_slots_are_given_from_zero_up(tmp_path: Path) -> None:
    with acquire("shop", runtime_dir=str(tmp_path)) as first, acquire("shop", runtime_dir=str(tmp_path)) as second:
        assert (first.number, second.number) == (0, 1)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["shop-0.lock", "shop-1.lock"]


def test_the_lowest_free_slot_is_taken(tmp_path: Path) -> None:
    held = [acquire("shop", runtime_dir=str(tmp_path)) for _ in range(3)]
    held[1].release()
    with acquire("shop", runtime_dir=str(tmp_path)) as slot:
        assert slot.number == 1
    held[0].release()
    held[2].release()


def test_apps_have_slots_of_their_own(tmp_path: Path) -> None:
    with acquire("shop", runtime_dir=str(tmp_path)) as one, acquire("bank", runtime_dir=str(tmp_path)) as other:
        assert one.number == other.number == 0


def test_the_preferred_slot_comes_first(tmp_path: Path) -> None:
    with acquire("shop", runtime_dir=str(tmp_path), preferred=5) as slot:
        assert slot.number == 5


def test_the_preferred_slot_is_waited_for_while_its_holder_dies(tmp_path: Path) -> None:
    dying = acquire("shop", runtime_dir=str(tmp_path))
    timer = threading.Timer(0.1, dying.release)
    timer.start()
    with acquire("shop", runtime_dir=str(tmp_path), preferred=0, handover_seconds=30) as slot:
        assert slot.number == 0
    timer.join()


def test_a_preferred_slot_that_stays_taken_is_given_up(tmp_path: Path) -> None:
    with (
        acquire("shop", runtime_dir=str(tmp_path)),
        acquire("shop", runtime_dir=str(tmp_path), preferred=0, handover_seconds=0.02) as slot,
    ):
        assert slot.number == 1


def test_avoided_slots_are_never_taken(tmp_path: Path) -> None:
    with acquire("shop", runtime_dir=str(tmp_path), preferred=1, avoid={0, 1}) as slot:
        assert slot.number == 2


def test_a_digest_outlives_its_holder_and_belongs_to_its_group(tmp_path: Path) -> None:
    with acquire("shop", runtime_dir=str(tmp_path)) as slot:
        assert slot.digest("billing") is None
        slot.write_digest("billing", "orders:6")
        slot.write_digest("billing", "orders:6,invoices:3")
        slot.write_digest("mail", "emails:1")
    with acquire("shop", runtime_dir=str(tmp_path)) as slot:
        assert slot.digest("billing") == "orders:6,invoices:3"
        assert slot.digest("mail") == "emails:1"


def test_a_shorter_digest_leaves_nothing_behind(tmp_path: Path) -> None:
    with acquire("shop", runtime_dir=str(tmp_path)) as slot:
        slot.write_digest("billing", "x" * 500)
        slot.write_digest("billing", "y")
        assert slot.path.stat().st_size < 100


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"billing": 3}', b"\xff\xfe", b'{"other": "x"}\ngarbage of a longer line']
)
def test_damaged_content_is_no_digest(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shop-0.lock").write_bytes(content)
    with acquire("shop", runtime_dir=str(tmp_path)) as slot:
        assert slot.digest("billing") is None


def test_the_tail_of_an_older_longer_line_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "shop-0.lock").write_bytes(b'{"billing": "new"}\n older and longer"}\n')
    with acquire("shop", runtime_dir=str(tmp_path)) as slot:
        assert slot.digest("billing") == "new"


def test_release_is_idempotent_and_a_later_digest_goes_nowhere(tmp_path: Path) -> None:
    slot = acquire("shop", runtime_dir=str(tmp_path))
    slot.release()
    slot.release()
    slot.write_digest("billing", "late")
    with acquire("shop", runtime_dir=str(tmp_path)) as successor:
        assert successor.digest("billing") is None


def test_a_removed_file_excludes_nobody_so_the_slot_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def remove_then_lock(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        (tmp_path / "shop-0.lock").unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_then_lock)
    with acquire("shop", runtime_dir=str(tmp_path)) as slot:
        assert os.path.samestat(os.fstat(slot._descriptor), slot.path.stat())


@pytest.mark.parametrize("name", ["a/b", "x" * 400, "snow ☃"])
def test_any_app_name_makes_a_file_name(tmp_path: Path, name: str) -> None:
    with acquire(name, runtime_dir=str(tmp_path)) as slot:
        assert slot.path.parent == tmp_path


def test_a_folder_that_can_not_be_made_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="set ELSA_RUNTIME_DIR") as caught:
        acquire("shop", runtime_dir=str(tmp_path / "file" / "below"))

    assert str(tmp_path / "file") in str(caught.value)


def test_a_file_system_without_locks_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ConfigError, match="its file system has no locks"):
        acquire("shop", runtime_dir=str(tmp_path))


def test_another_users_slot_in_a_shared_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop-0.lock").write_text("")
    real = os.open

    def refuse_the_first(path: Any, *args: Any, **options: Any) -> int:
        if Path(path).name == "shop-0.lock":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse_the_first)
    with acquire("shop", runtime_dir=str(tmp_path)) as slot:
        assert slot.number == 1


def test_folders_are_the_runtime_folder_then_the_data_folder_never_tmp() -> None:
    home = Path("~").expanduser()

    assert folders({"XDG_RUNTIME_DIR": "/run/user/7"}, "linux") == [
        Path("/run/user/7/elsa"),
        home / ".local/share/elsa",
    ]
    assert folders({"XDG_DATA_HOME": "/data"}, "linux") == [Path("/data/elsa")]
    assert folders({"XDG_RUNTIME_DIR": "relative"}, "darwin") == [home / "Library/Application Support/elsa"]


def test_an_unusable_runtime_folder_falls_back_to_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").write_text("")
    monkeypatch.setattr(slots, "folders", lambda: [tmp_path / "gone" / "elsa", tmp_path / "data" / "elsa"])
    with acquire("shop") as slot:
        assert slot.path == tmp_path / "data" / "elsa" / "shop-0.lock"
        assert stat.S_IMODE(slot.path.parent.stat().st_mode) == 0o700


_FORKING = """
import os, signal, sys
from elsa.worker.slots import acquire
slot = acquire("shop", runtime_dir=sys.argv[1])
if os.fork() == 0:  # what the user's multiprocessing does
    sys.stdin.read()
    os._exit(0)
print(slot.number, flush=True)
signal.pause()
"""


def test_a_process_forked_by_the_users_code_does_not_keep_the_slot(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _FORKING, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder.stdin, holder.stdout:  # their end is what ends the forked one
        assert holder.stdout.readline() == "0\n"
        holder.kill()
        holder.wait()
        with acquire("shop", runtime_dir=str(tmp_path), preferred=0) as successor:
            assert successor.number == 0


_FULL = """
import resource, sys
from elsa.worker.slots import acquire

with acquire("shop", runtime_dir=sys.argv[1]) as slot:
    slot.write_digest("billing", "orders:6")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, resource.RLIM_INFINITY))
    slot.write_digest("billing", "orders:7")
    slot.write_digest("billing", "orders:8")
"""


def test_a_full_disk_does_not_stop_the_work_and_leaves_nothing_untrue(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "could not be kept for its successor" in done.stderr
    with acquire("shop", runtime_dir=str(tmp_path)) as slot:
        assert slot.digest("billing") is None
