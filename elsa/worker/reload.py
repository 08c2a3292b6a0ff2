"""Sees which of the user's files have changed and tells the supervisor (`elsa worker --reload`, `elsa dev`).

Made, started and stopped by the command, beside the supervisor and in its process. A thread of its own waits for
watchfiles, which only says that something happened: what changed is found by looking.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import os
import platform
import sys
import threading
from dataclasses import dataclass
from logging import WARNING, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Self

from elsa.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

#: files that count beside those of Python
SETTINGS_FILES = frozenset({"elsa.toml", "pyproject.toml"})
#: folders that hold nobody's own code, beside hidden ones and virtual environments
_FOREIGN = frozenset({"__pycache__", "node_modules", "site-packages"})
#: files written within this time of each other are one change; also how long a stop takes at most
_QUIET_MILLISECONDS = 100
#: writing that never pauses is a change all the same after so long
_PATIENCE_MILLISECONDS = 1_000
#: how often the files are looked at where the system doesn't tell of changes
_POLL_SECONDS = 0.5
#: Elsewhere each folder is watched by itself, so that those of no interest cost neither watches nor wake-ups. The
#: system of macOS watches trees, and starts anew with every folder that is added.
_WATCHES_TREES = sys.platform == "darwin"

_log = getLogger(__name__)
# it tells of every change, by number
getLogger("watchfiles").setLevel(WARNING)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What there is: the folders to be watched, and by path what tells one version of a file from another."""

    folders: frozenset[str] = frozenset()
    files: Mapping[str, tuple[int, int, int]] | None = None

    def changes_since(self, before: Snapshot) -> list[str]:
        """The paths that were added, changed or removed."""
        old, new = before.files or {}, self.files or {}
        return sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))


def look(roots: Iterable[Path]) -> Snapshot:
    """Every Python and settings file below the roots, and the folders they may be in.

    Left out are hidden files and folders, virtual environments, `__pycache__`, `node_modules`, `site-packages`, and
    what can not be read. For a root that is gone its nearest parent is watched, to see it come back.
    """
    files: dict[str, tuple[int, int, int]] = {}
    folders: set[str] = set()
    # a link may lead to where we have been
    visited: set[tuple[int, int]] = set()
    left = []
    for root in roots:
        if root.is_dir():
            left.append(str(root))
        else:
            folders.add(str(_nearest(root)))
    while left:
        folder = left.pop()
        with contextlib.suppress(OSError):  # it went away meanwhile, or is not ours to read
            status = Path(folder).stat()
            with os.scandir(folder) as scan:
                entries = list(scan)
            if (status.st_dev, status.st_ino) in visited or any(entry.name == "pyvenv.cfg" for entry in entries):
                continue
            visited.add((status.st_dev, status.st_ino))
            folders.add(folder)
            for entry in entries:
                with contextlib.suppress(OSError):
                    if _is_code(entry.name):
                        status = entry.stat()
                        files[entry.path] = (status.st_mtime_ns, status.st_size, status.st_ino)
                    elif not _is_foreign(entry.name) and entry.is_dir():
                        left.append(entry.path)
    return Snapshot(frozenset(folders), files)


def _nearest(root: Path) -> Path:
    """The folder itself, or what is left of the way to it."""
    return next((folder for folder in (root, *root.parents) if folder.is_dir()), Path(root.anchor))


def _is_code(name: str) -> bool:
    # hidden ones are what editors keep beside the file
    return (name.endswith(".py") and not name.startswith(".")) or name in SETTINGS_FILES


def _is_foreign(name: str) -> bool:
    return name.startswith(".") or name in _FOREIGN


class FileWatcher:
    """Calls `on_change` with the paths that changed below some folders, from `start` to `stop`.

    `start` and `stop` belong to one thread. `on_change` is called by the watcher's own thread, one call for a burst
    of changes, and must not block. Raises ConfigError where the files can't be watched.
    """

    def __init__(self, folders: Iterable[Path], on_change: Callable[[Sequence[str]], None]) -> None:
        self._roots = tuple(dict.fromkeys(folder.resolve() for folder in folders))
        self._on_change = on_change
        self._ended = threading.Event()
        self._is_watching = threading.Event()
        self._failure: Exception | None = None
        self._seen = Snapshot()
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Watch: what changes after this has returned is seen."""
        require_watchfiles()
        self._seen = look(self._roots)
        self._thread = threading.Thread(target=self._run, name="elsa-reload", daemon=True)
        self._thread.start()
        self._is_watching.wait()
        if self._failure is not None:
            self.stop()
            raise ConfigError(
                f"the files in {', '.join(map(str, self._roots))} can not be watched: {self._failure}",
                hint="watch fewer folders (--reload-dir), or raise the system's limit (fs.inotify.max_user_watches)",
            ) from self._failure
        return self

    def stop(self) -> None:
        """End the thread; idempotent, safe before `start`."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            if events_are_missing():
                self._is_watching.set()
                while not self._ended.wait(_POLL_SECONDS):
                    self._compare()
            while not self._ended.is_set():
                self._watch(self._seen.folders)
        except Exception as error:  # border: the thread has nobody above it, and its end must not go unnoticed
            self._failure = error
            if self._is_watching.is_set():
                text = "changes of files are not seen any more, start the worker again"
                _log.error(text, extra={"event": "reload_failed", "error": str(error)})
        finally:
            self._is_watching.set()

    def _watch(self, folders: frozenset[str]) -> None:
        """Watch until there are other folders, or until the end."""
        from watchfiles import watch  # noqa: PLC0415 - an extra

        state = _State(lambda: self._ended.is_set() or self._seen.folders != folders, self._begun)
        news = watch(
            *(map(_nearest, self._roots) if _WATCHES_TREES else sorted(folders)),
            watch_filter=lambda _, path: self._is_news(path),
            debounce=_PATIENCE_MILLISECONDS,
            step=_QUIET_MILLISECONDS,
            stop_event=state,
            # a time limit would throw away what comes just then
            rust_timeout=0,
            # its own way of looking takes changes of one second for none
            force_polling=False,
            recursive=_WATCHES_TREES,
        )
        try:
            with contextlib.closing(news):
                for _ in news:
                    self._compare()
        except (OSError, RuntimeError) as error:
            self._compare()
            if self._seen.folders == folders and not state.has_begun:
                raise
            # a folder went away before it was watched, or the name of a file was no text: watch anew
            _log.debug("watching anew", extra={"event": "reload_again", "error": str(error)})

    def _begun(self) -> None:
        # what happened since the last look happened while nothing was watched
        self._compare()
        self._is_watching.set()

    def _is_news(self, path: str) -> bool:
        name = os.path.basename(path)  # noqa: PTH119 - called for every event of every file
        return _is_code(name) or (not _is_foreign(name) and (path in self._seen.folders or os.path.isdir(path)))  # noqa: PTH112 - as above

    def _compare(self) -> None:
        before, self._seen = self._seen, look(self._roots)
        if changes := self._seen.changes_since(before):
            self._on_change(changes)


class _State:
    """What watchfiles takes for its stop event: it asks again and again, the first time when everything is watched."""

    def __init__(self, is_over: Callable[[], bool], on_begin: Callable[[], None]) -> None:
        self._is_over = is_over
        self._on_begin = on_begin
        self.has_begun = False

    def is_set(self) -> bool:
        """Whether to stop watching."""
        if not self.has_begun:
            self.has_begun = True
            self._on_begin()
        return self._is_over()


def events_are_missing() -> bool:
    """Whether the system may not tell of changes: on WSL, and where the variable that watchfiles has for it says so.

    The files are looked at twice a second then.
    """
    wish = os.environ.get("WATCHFILES_FORCE_POLLING", "").strip().lower()
    if wish:
        return wish not in ("0", "false", "disable", "disabled")
    return "microsoft" in platform.release().lower()


def require_watchfiles() -> None:
    """Raise ConfigError when the package that watches files is not installed."""
    try:
        import watchfiles  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            f"a reload needs the package watchfiles: {error}", hint="pip install 'elsa[reload]'"
        ) from None


def folders_of(target: str, cwd: Path) -> list[Path]:
    """What is watched unless told otherwise: the current folder, and that of the app's module where it is elsewhere.

    The module is looked for, not imported: its own code must not run in the supervisor.
    """
    name, _, attribute = target.partition(":")
    found: list[Path] = []
    if name.endswith(".py") or os.sep in name:
        folder = (cwd / name).resolve().parent
        while (folder / "__init__.py").is_file():
            folder = folder.parent
        found = [folder]
    else:
        # `app:module` is understood as well as `module:app`
        found = _folders_of_module(name, cwd) or _folders_of_module(attribute, cwd)
    return [cwd, *(folder for folder in found if folder.is_dir() and not folder.is_relative_to(cwd))]


def _folders_of_module(dotted: str, cwd: Path) -> list[Path]:
    name = dotted.partition(".")[0]
    if not name.isidentifier():
        return []
    if importlib.machinery.PathFinder.find_spec(name, [str(cwd)]) is not None:
        return [cwd]
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(place) for place in spec.submodule_search_locations]
    return [Path(spec.origin).parent] if spec.has_location and spec.origin else []


def forget_bytecode(files: Iterable[str]) -> None:
    """Have Python compile these files anew.

    It takes a cached module for the file's own by the second of its last change and its size: a digit that is
    corrected within the second of the last import would go unnoticed.
    """
    for path in files:
        if path.endswith(".py"):
            with contextlib.suppress(OSError, NotImplementedError):
                os.unlink(importlib.util.cache_from_source(path))  # noqa: PTH108 - no other use of a Path
