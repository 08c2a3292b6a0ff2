"""Slots: numbers that the worker processes of one App on one machine share out by locked files.

Called by the worker process at its start: a static member's id is made of its slot, and a successor that takes its
predecessor's slot gets its partitions without a rebalance. The file outlives its holder and keeps, per group, a digest
of what was subscribed to and how many partitions there were.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import sys
import weakref
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Self

from elsa.clock import SYSTEM
from elsa.errors import ConfigError
from elsa.names import legal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

#: how long the preferred slot may still be locked by a holder that is just dying
HANDOVER_SECONDS = 2.0
_RETRY_SECONDS = 0.01
_MAX_NAME = 200
_log = logging.getLogger("elsa.worker")
_HINT = "set ELSA_RUNTIME_DIR (setting runtime_dir) to a writable folder that all workers of this machine share"


class Slot:
    """A slot that this process holds until `release` or its end; give `acquire`'s result to a `with`.

    `digest` and `write_digest` may be called from any thread, the lock guards the file's content.
    """

    def __init__(self, number: int, path: Path, descriptor: int) -> None:
        self.number = number
        self.path = path
        self._descriptor = descriptor
        self._lock = Lock()
        self._digests = _parsed(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        _HELD.add(self)

    def digest(self, group: str) -> str | None:
        """What was last written for this group, by this process or a predecessor; None when nothing readable is."""
        with self._lock:
            return self._digests.get(group)

    def write_digest(self, group: str, text: str) -> None:
        """Keep `text` for this group's successor; nothing is written when it is known, or after `release`."""
        with self._lock:
            if self._digests.get(group) == text:
                return
            self._digests[group] = text
            if self._descriptor < 0:
                return
            # one line by one write, then the rest is cut off: whoever reads after a kill in between finds the new line
            line = json.dumps(self._digests).encode() + b"\n"
            try:
                if os.pwrite(self._descriptor, line, 0) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.ftruncate(self._descriptor, len(line))
            except OSError as error:
                self._forget(error)

    def _forget(self, error: OSError) -> None:
        """A full disk must not stop the work: who knows nothing of a predecessor joins anew (lock held)."""
        # what stands there is not true any more; less fits always
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        _log.warning(
            "what this process subscribes to could not be kept for its successor, which will cost a rebalance",
            extra={"event": "slot_not_written", "path": str(self.path), "error": str(error), "limit": str(self.path)},
        )

    def release(self) -> None:
        """Give the slot up, its content stays; idempotent."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
            _HELD.discard(self)
            if descriptor >= 0:
                # closing alone would keep the lock while a process forked by the user's code holds a copy
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"Slot({self.number}, {str(self.path)!r})"


_HELD: weakref.WeakSet[Slot] = weakref.WeakSet()


def _close_in_fork() -> None:
    """A process that the user's code forks must not keep the slot locked when this one is gone."""
    for slot in list(_HELD):
        with contextlib.suppress(OSError):
            os.close(slot._descriptor)
        slot._descriptor = -1
    _HELD.clear()


os.register_at_fork(after_in_child=_close_in_fork)


def acquire(
    name: str,
    *,
    runtime_dir: str | None = None,
    preferred: int | None = None,
    avoid: Collection[int] = (),
    handover_seconds: float = HANDOVER_SECONDS,
) -> Slot:
    """Lock the preferred slot of the App `name` when its dying holder lets go in time, else the lowest free one.

    Slots in `avoid` are never taken (an id that was fenced must not come back). Raises ConfigError when the folder
    can't hold locks.
    """
    folder = _folder(runtime_dir)
    if preferred is not None and preferred not in avoid:
        deadline, pause = SYSTEM.monotonic() + handover_seconds, Event()
        while True:
            if (slot := _try(folder, name, preferred)) is not None:
                return slot
            if SYSTEM.monotonic() >= deadline:
                break
            # no event tells that another process's lock is free, and waiting inside flock can't be bounded
            pause.wait(_RETRY_SECONDS)
    number = 0
    while True:
        if number not in avoid and (slot := _try(folder, name, number)) is not None:
            return slot
        number += 1


def folders(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> list[Path]:
    """Where slots are kept when no folder is set: the first usable one; never a private /tmp, which nobody shares."""
    found = []
    runtime, data = environ.get("XDG_RUNTIME_DIR", ""), environ.get("XDG_DATA_HOME", "")
    if Path(runtime).is_absolute():
        found.append(Path(runtime) / "elsa")
    if Path(data).is_absolute():
        found.append(Path(data) / "elsa")
    else:
        default = "Library/Application Support" if platform == "darwin" else ".local/share"
        with contextlib.suppress(RuntimeError):  # this user has no home
            found.append(Path("~").expanduser() / default / "elsa")
    return found


def _folder(runtime_dir: str | None) -> Path:
    choices = [Path(runtime_dir)] if runtime_dir else folders()
    reasons = []
    for folder in choices:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror}")
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
        reasons.append(f"{folder}: no permission to write")
    shown = "; ".join(reasons) or "this user has no home folder"
    raise ConfigError(f"no folder for the slots of worker processes ({shown})", hint=_HINT)


def _try(folder: Path, name: str, number: int) -> Slot | None:
    path = folder / f"{legal(name)[:_MAX_NAME]}-{number}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        if path.exists():
            return None  # another user's, in a shared folder
        raise _unusable(path, error) from error
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # a file that was removed meanwhile excludes nobody
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return Slot(number, path, descriptor)
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        os.close(descriptor)
        raise _unusable(path, error) from error
    os.close(descriptor)
    return None


def _unusable(path: Path, error: OSError) -> ConfigError:
    reason = error.strerror or str(error)
    if error.errno in {errno.ENOLCK, errno.EOPNOTSUPP}:
        reason = "its file system has no locks"
    return ConfigError(f"the slot file {path} can not be used: {reason}", hint=_HINT)


def _parsed(content: bytes) -> dict[str, str]:
    try:
        found = json.loads(content.partition(b"\n")[0])
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {group: text for group, text in found.items() if isinstance(text, str)}
