from __future__ import annotations

import importlib
import logging
import os
import platform
import queue
import shutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import watchfiles

from elsa.errors import ConfigError
from elsa.worker.reload import (
    FileWatcher,
    events_are_missing,
    folders_of,
    forget_bytecode,
    look,
    require_watchfiles,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE = 30.0


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# -- what counts


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("shop.py", True),
        ("deep/down/in/shop.py", True),
        ("elsa.toml", True),
        ("pyproject.toml", True),
        ("other.toml", False),
        ("shop.pyc", False),
        ("notes.txt", False),
        (".#shop.py", False),
        ("__pycache__/shop.py", False),
        (".git/hooks/hook.py", False),
        (".venv/lib/shop.py", False),
        ("node_modules/gyp/build.py", False),
        ("lib/python3/site-packages/shop.py", False),
    ],
)
def test_only_peoples_own_code_and_settings_count(tmp_path: Path, name: str, *, counts: bool) -> None:
    write(tmp_path / name)

    assert (str(tmp_path / name) in (look([tmp_path]).files or {})) is counts


def test_a_virtual_environment_of_any_name_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "env" / "pyvenv.cfg")
    write(tmp_path / "env" / "bin" / "activate_this.py")

    assert look([tmp_path]).files == {}
    assert look([tmp_path]).folders == {str(tmp_path)}


def test_a_hidden_folder_that_is_named_is_looked_into(tmp_path: Path) -> None:
    write(tmp_path / ".hidden" / "shop.py")

    assert list(look([tmp_path / ".hidden"]).files or {}) == [str(tmp_path / ".hidden" / "shop.py")]


def test_links_are_followed_once(tmp_path: Path) -> None:
    write(tmp_path / "shared" / "money.py")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "shared").symlink_to(tmp_path / "shared")
    (tmp_path / "shared" / "back").symlink_to(tmp_path / "project")

    assert list(look([tmp_path / "project"]).files or {}) == [str(tmp_path / "project" / "shared" / "money.py")]


def test_added_changed_and_removed_files_are_changes(tmp_path: Path) -> None:
    for name in ("same.py", "changed.py", "removed.py"):
        write(tmp_path / name)
    before = look([tmp_path])
    (tmp_path / "removed.py").unlink()
    write(tmp_path / "changed.py", "x = 1")
    write(tmp_path / "added.py")

    changes = look([tmp_path]).changes_since(before)
    assert [Path(path).name for path in changes] == ["added.py", "changed.py", "removed.py"]


def test_a_file_put_in_place_of_another_is_a_change_whatever_its_time(tmp_path: Path) -> None:
    for name in ("shop.py", "other.py"):
        write(tmp_path / name)
        os.utime(tmp_path / name, (1, 1))
    before = look([tmp_path / "shop.py", tmp_path])
    (tmp_path / "other.py").replace(tmp_path / "shop.py")

    assert str(tmp_path / "shop.py") in look([tmp_path]).changes_since(before)


# -- which folders


def test_an_app_in_the_current_folder_needs_no_other(tmp_path: Path) -> None:
    write(tmp_path / "shop.py")

    assert folders_of("shop:app", tmp_path) == [tmp_path]
    assert folders_of("shop.py", tmp_path) == [tmp_path]
    assert folders_of("nowhere_at_all:app", tmp_path) == [tmp_path]


@pytest.mark.parametrize("target", ["elsewhere.orders:app", "elsewhere", "app:elsewhere"])
def test_the_package_of_an_app_elsewhere_is_watched_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    write(tmp_path / "lib" / "elsewhere" / "__init__.py", "raise AssertionError('imported')")
    (tmp_path / "here").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))

    assert folders_of(target, tmp_path / "here") == [tmp_path / "here", tmp_path / "lib" / "elsewhere"]


def test_the_folder_of_a_module_elsewhere_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "lib" / "elsewhere.py", "raise AssertionError('imported')")
    (tmp_path / "here").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))

    assert folders_of("elsewhere:app", tmp_path / "here") == [tmp_path / "here", tmp_path / "lib"]


def test_a_path_elsewhere_is_watched_from_above_its_package(tmp_path: Path) -> None:
    write(tmp_path / "other" / "shop" / "__init__.py")
    write(tmp_path / "other" / "shop" / "orders.py")
    (tmp_path / "here").mkdir()

    found = folders_of("../other/shop/orders.py:app", tmp_path / "here")
    assert found == [tmp_path / "here", tmp_path / "other"]


@pytest.mark.parametrize("target", ["sys:app", "-x:app", ":", "__main__"])
def test_what_has_no_folder_adds_none(tmp_path: Path, target: str) -> None:
    assert folders_of(target, tmp_path)[0] == tmp_path


# -- bytecode


def test_a_change_of_the_same_second_and_size_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "elsa_stale_bytecode.py"

    def load(text: str) -> int:
        path.write_text(text)
        os.utime(path, (1_000_000, 1_000_000))
        sys.modules.pop(path.stem, None)
        importlib.invalidate_caches()
        return int(importlib.import_module(path.stem).VALUE)

    assert load("VALUE = 1") == 1
    # this is what Python does, and the reason for what follows
    assert load("VALUE = 2") == 1
    forget_bytecode([str(path)])
    assert load("VALUE = 3") == 3

    forget_bytecode([str(path), str(path), str(tmp_path / "elsa.toml"), str(tmp_path / "gone.py")])


# -- the thread


class Changes:
    """A watched folder and what the watcher tells of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()
        self.watcher = FileWatcher([folder], self.told.put)

    def next(self) -> list[str]:
        """The next change, as names in the folder."""
        return [str(Path(path).relative_to(self.folder)) for path in self.told.get(timeout=PATIENCE)]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Changes]]:
    made: list[Changes] = []

    def start(folder: str = ".") -> Changes:
        made.append(Changes((tmp_path / folder).resolve()))
        made[-1].watcher.start()
        return made[-1]

    yield start
    for each in made:
        each.watcher.stop()


def test_a_change_is_told_and_what_python_and_tools_write_is_not(tmp_path: Path, watch: Callable[..., Changes]) -> None:
    write(tmp_path / "shop.py")
    changes = watch()
    for name in ("__pycache__/shop.cpython-313.pyc", ".git/index", ".mypy_cache/x.py", "shop.log", "data/orders.db"):
        write(tmp_path / name, "written")
    write(tmp_path / "shop.py", "x = 1")

    assert changes.next() == ["shop.py"]
    write(tmp_path / "shop.py", "x = 12")
    assert changes.next() == ["shop.py"]
    assert changes.told.empty()


def test_folders_that_come_go_and_move_are_followed(tmp_path: Path, watch: Callable[..., Changes]) -> None:
    write(tmp_path / "orders" / "deep" / "bill.py")
    changes = watch()
    write(tmp_path / "new" / "deep" / "shop.py")
    assert changes.next() == ["new/deep/shop.py"]

    write(tmp_path / "new" / "deep" / "shop.py", "x = 1")
    assert changes.next() == ["new/deep/shop.py"]

    (tmp_path / "orders").rename(tmp_path / "sales")
    assert changes.next() == ["orders/deep/bill.py", "sales/deep/bill.py"]

    write(tmp_path / "sales" / "deep" / "bill.py", "x = 1")
    assert changes.next() == ["sales/deep/bill.py"]

    shutil.rmtree(tmp_path / "sales")
    assert changes.next() == ["sales/deep/bill.py"]


def test_a_folder_that_was_named_may_go_and_come_back(tmp_path: Path, watch: Callable[..., Changes]) -> None:
    write(tmp_path / "code" / "src" / "shop.py")
    changes = watch("code/src")
    shutil.rmtree(tmp_path / "code")
    assert changes.next() == ["shop.py"]

    write(tmp_path / "code" / "src" / "shop.py")
    assert changes.next() == ["shop.py"]


def test_what_changes_while_new_watches_are_set_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watch: Callable[..., Changes]
) -> None:
    really = watchfiles.watch
    starts = iter(range(10))

    def slow(*paths: Any, **options: Any) -> Any:
        if next(starts) == 1:
            # nothing is watched in this moment
            write(tmp_path / "between.py")
        return really(*paths, **options)

    monkeypatch.setattr(watchfiles, "watch", slow)
    changes = watch()
    (tmp_path / "new").mkdir()

    assert changes.next() == ["between.py"]


def test_a_watch_that_breaks_is_set_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watch: Callable[..., Changes]
) -> None:
    really = watchfiles.watch
    starts = iter(range(10))

    def breaking(*paths: Any, stop_event: Any, **options: Any) -> Iterator[Any]:
        if next(starts) == 0:
            stop_event.is_set()
            raise RuntimeError("a name that is no text")
        yield from really(*paths, stop_event=stop_event, **options)

    monkeypatch.setattr(watchfiles, "watch", breaking)
    changes = watch()
    write(tmp_path / "shop.py")

    assert changes.next() == ["shop.py"]


def test_where_no_events_come_the_files_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watch: Callable[..., Changes]
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    monkeypatch.delattr(watchfiles, "watch")
    changes = watch()
    for number in range(2):
        # of the same second and size
        write(tmp_path / "new" / "shop.py", f"x = {number}")
        assert changes.next() == ["new/shop.py"]


@pytest.mark.parametrize(
    ("wish", "release", "expected"),
    [
        ("", "6.8.0-generic", False),
        ("", "5.15.90.1-microsoft-standard-WSL2", True),
        ("1", "6.8.0-generic", True),
        ("true", "6.8.0-generic", True),
        ("false", "5.15.90.1-microsoft-standard-WSL2", False),
        ("disabled", "6.8.0-generic", False),
    ],
)
def test_who_looks_and_who_waits_for_events(
    monkeypatch: pytest.MonkeyPatch, wish: str, release: str, *, expected: bool
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", wish)
    monkeypatch.setattr(platform, "release", lambda: release)

    assert events_are_missing() is expected


def test_a_limit_of_the_system_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Iterator[Any]:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watchfiles, "watch", refuse)
    watcher = FileWatcher([tmp_path], lambda _: None)

    with pytest.raises(ConfigError, match=r"can not be watched: OS file watch limit reached\n  hint: .*--reload-dir"):
        watcher.start()
    assert not threads()


def test_a_watch_that_can_not_be_set_anew_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, watch: Callable[..., Changes]
) -> None:
    really = watchfiles.watch
    starts = iter(range(10))

    def refuse(*paths: Any, **options: Any) -> Any:
        if next(starts) == 0:
            return really(*paths, **options)
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watchfiles, "watch", refuse)
    changes = watch()
    (tmp_path / "new").mkdir()
    assert changes.watcher._thread is not None
    changes.watcher._thread.join(PATIENCE)

    (record,) = (each for each in caplog.records if each.levelno == logging.ERROR)
    assert record.getMessage() == "changes of files are not seen any more, start the worker again"
    assert vars(record)["error"] == "OS file watch limit reached"


def test_stop_leaves_no_thread_and_may_come_early_and_often(tmp_path: Path) -> None:
    watcher = FileWatcher([tmp_path], lambda _: None)
    watcher.stop()
    watcher = FileWatcher([tmp_path], lambda _: None).start()
    assert threads()
    watcher.stop()
    watcher.stop()

    assert not threads()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "elsa-reload"]


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)

    with pytest.raises(ConfigError, match=r"watchfiles.*\n  hint: pip install 'elsa\[reload\]'"):
        require_watchfiles()
