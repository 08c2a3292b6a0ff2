"""The folders of the embedded broker: where data and jars live, who holds a data folder, how much room is left.

Called by the cluster and the jar cache.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.errors import DataDirectoryError

if TYPE_CHECKING:
    from collections.abc import Callable

#: below this a broker would soon stop with a full disk
MINIMUM_FREE_BYTES = 200_000_000
#: how long a folder may stay locked by a broker whose program is gone already
HANDOVER_SECONDS = 10.0


def cache_folder() -> Path:
    """Elsa's folder below the user's cache folder (`XDG_CACHE_HOME`)."""
    return _user_folder("XDG_CACHE_HOME", mac="Library/Caches", other=".cache") / "elsa"


def data_folder(nodes: int) -> Path:
    """The default data folder of a cluster of this many nodes (`XDG_DATA_HOME`)."""
    root = _user_folder("XDG_DATA_HOME", mac="Library/Application Support", other=".local/share")
    return root / "elsa" / ("kafka" if nodes == 1 else f"kafka-{nodes}")


def _user_folder(variable: str, *, mac: str, other: str) -> Path:
    configured = os.environ.get(variable)
    if configured and Path(configured).is_absolute():
        return Path(configured)
    return Path.home() / (mac if sys.platform == "darwin" else other)


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk of this folder, or of its nearest parent that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_room(folder: Path, minimum: int, *, free: Callable[[Path], int] = free_bytes) -> None:
    """Raise DataDirectoryError unless `minimum` bytes are free where `folder` lies."""
    available = free(folder)
    if available < minimum:
        raise DataDirectoryError(
            f"the disk of {folder} is full: {available / 1e6:.0f} MB are free, {minimum / 1e6:.0f} MB are needed",
            hint="free some space, or choose a folder on another disk (--data-dir, XDG_CACHE_HOME for the jars)",
        )


@dataclass(frozen=True, slots=True)
class FolderLock:
    """A data folder that this process holds; `descriptor` keeps the lock, whoever inherits it keeps it too."""

    folder: Path
    descriptor: int

    def release(self) -> None:
        """Give up this process's share of the lock."""
        os.close(self.descriptor)


def lock(folder: Path, *, handover_seconds: float = HANDOVER_SECONDS) -> FolderLock:
    """Create the folder where needed and lock it, or raise DataDirectoryError naming the process that holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirectoryError(
            f"the data folder {folder} cannot be written: {error.strerror}",
            hint="choose another one with --data-dir, or use --ephemeral",
        ) from error
    deadline = SYSTEM.monotonic() + handover_seconds
    pause = threading.Event()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(folder)
            # The brokers of a program that was killed hold the lock until they have ended.
            if (holder is not None and _is_running(holder)) or SYSTEM.monotonic() > deadline:
                os.close(descriptor)
                raise DataDirectoryError(
                    f"the data folder {folder} is in use by process {holder or 'unknown'}",
                    hint="stop that one, choose another folder with --data-dir, or use --ephemeral",
                ) from None
            pause.wait(0.1)
            continue
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
        return FolderLock(folder, descriptor)


def _holder(folder: Path) -> int | None:
    try:
        return int(json.loads((folder / "lock").read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
