"""Fetches Kafka's jars once into the user's cache folder and checks them; called by the cluster before it starts."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from elsa.broker.folders import cache_folder, free_bytes, require_room
from elsa.errors import DataDirectoryError, JarsUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

KAFKA_VERSION = "4.4.0"
#: called with (jars done, jars in all, bytes fetched so far), from several threads but never at once
Progress: TypeAlias = Callable[[int, int, int], None]

_PARALLEL = 8
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 10
_HINT = (
    "check the network, the proxy (HTTPS_PROXY) or name a mirror under [repositories] in jgo's configuration file; "
    "or unpack Kafka 4 somewhere and set KAFKA_HOME; or use a running cluster with ELSA_BROKERS"
)


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar: its coordinates, its size in bytes and its digest."""

    group: str
    artifact: str
    version: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """The jar's name in the cache."""
        return f"{self.artifact}-{self.version}.jar"


def pinned_jars() -> list[Jar]:
    """The jars of Kafka and of everything it needs, as shipped with this package."""
    jars = []
    for line in resources.files("elsa.broker").joinpath("coordinates.txt").read_text().splitlines():
        coordinates, size, digest = line.split()
        group, artifact, version = coordinates.split(":")
        jars.append(Jar(group, artifact, version, int(size), digest))
    return jars


def classpath(
    on_progress: Progress | None = None,
    *,
    cache: Path | None = None,
    repositories: Mapping[str, str] | None = None,
    jars: Sequence[Jar] | None = None,
) -> list[Path]:
    """Every jar that a broker needs: those of KAFKA_HOME, else of the cache, fetched where missing.

    Safe when several processes call it at once; a torn or altered file is fetched again. Raises
    JarsUnavailable when a jar cannot be had, DataDirectoryError when the cache's disk is full.
    """
    home = os.environ.get("KAFKA_HOME")
    if home:
        return _of_installation(Path(home))
    wanted = pinned_jars() if jars is None else list(jars)
    folder = (cache or cache_folder()) / f"kafka-{KAFKA_VERSION}"
    if any(not _is_whole(folder / jar.filename, jar) for jar in wanted):
        with _locked(folder):
            missing = [jar for jar in wanted if not _is_whole(folder / jar.filename, jar)]
            if missing:
                require_room(folder, 2 * sum(jar.size for jar in missing), free=free_bytes)
                _fetch_all(missing, folder, on_progress, repositories)
    return [folder / jar.filename for jar in wanted]


def _of_installation(home: Path) -> list[Path]:
    libraries = sorted((home / "libs").glob("*.jar"))
    if not any(path.name.startswith("kafka_2.13-4.") for path in libraries):
        raise JarsUnavailable(
            f"KAFKA_HOME={home} holds no Kafka 4 (libs/kafka_2.13-4.*.jar)",
            hint="unset KAFKA_HOME to have the jars fetched, or point it to an unpacked Kafka 4",
        )
    return libraries


def _is_whole(path: Path, jar: Jar) -> bool:
    try:
        # The directory of a zip stands at its end: opening it finds what a crash left unwritten.
        return path.stat().st_size == jar.size and zipfile.is_zipfile(path)
    except OSError:
        return False


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("w")
    except OSError as error:
        raise DataDirectoryError(
            f"the cache folder {folder} cannot be written: {error.strerror}",
            hint="set XDG_CACHE_HOME to another folder",
        ) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Whoever left a partial download behind no longer runs, it would hold the lock.
        for stale in folder.glob(".fetch-*"):
            shutil.rmtree(stale, ignore_errors=True)
        yield


class _Cancelled(Exception):
    """Another download failed, or the program is being stopped."""


class _Meter:
    """Counts jars and bytes for the progress callback; any downloading thread calls it, a lock guards it."""

    def __init__(self, total: int, on_progress: Progress | None) -> None:
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._done = 0
        self._total = total
        self._bytes = 0
        self._on_progress = on_progress

    def add(self, *, jars: int = 0, size: int = 0) -> None:
        if self.cancelled.is_set():
            # Raised inside the download that reports: it must not hold up a ctrl-C.
            raise _Cancelled
        with self._lock:
            self._done += jars
            self._bytes += size
            if self._on_progress is not None:
                self._on_progress(self._done, self._total, self._bytes)

    @contextlib.contextmanager
    def track(self, _filename: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield lambda size: self.add(size=size)


def _fetch_all(
    jars: list[Jar], folder: Path, on_progress: Progress | None, repositories: Mapping[str, str] | None
) -> None:
    meter = _Meter(len(jars), on_progress)
    meter.add()
    partial = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder))
    try:
        context = _context(partial, meter, repositories)
        todo: SimpleQueue[Jar] = SimpleQueue()
        results: SimpleQueue[BaseException | None] = SimpleQueue()
        for jar in jars:
            todo.put(jar)
        for number in range(min(_PARALLEL, len(jars))):
            # Not a pool, whose end would wait for a registry that has fallen silent: ctrl-C is to work at once.
            threading.Thread(
                target=_fetch_from,
                args=(todo, results, context, folder, meter),
                name=f"elsa-jars-{number}",
                daemon=True,
            ).start()
        for _ in jars:
            failure = results.get()
            if failure is not None:
                raise failure
    finally:
        meter.cancelled.set()
        shutil.rmtree(partial, ignore_errors=True)


def _fetch_from(
    todo: SimpleQueue[Jar], results: SimpleQueue[BaseException | None], context: Any, folder: Path, meter: _Meter
) -> None:
    """Fetch jars until none is left or somebody cancelled; one thread's work."""
    while not meter.cancelled.is_set():
        try:
            jar = todo.get_nowait()
        except Empty:
            return
        try:
            _fetch(jar, context, folder, meter)
        except BaseException as error:  # handed to the thread that waits for it
            results.put(error)
        else:
            results.put(None)


def _context(partial: Path, meter: _Meter, repositories: Mapping[str, str] | None) -> Any:
    try:
        from jgo.config import GlobalSettings  # noqa: PLC0415 - optional extra
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - optional extra
    except ImportError as error:
        raise JarsUnavailable(
            "Kafka's jars are not in the cache and jgo, which fetches them, is not installed",
            hint="pip install 'elsa[broker]', or unpack Kafka 4 somewhere and set KAFKA_HOME",
        ) from error
    if repositories is None:
        repositories = {**GlobalSettings.load().repositories, **MavenContext().remote_repos}
    resolver = PythonResolver(progress_callback=meter.track)
    return MavenContext(
        resolver=resolver, repo_cache=partial, remote_repos=dict(repositories), timeout=_TIMEOUT_SECONDS
    )


def _fetch(jar: Jar, context: Any, folder: Path, meter: _Meter) -> None:
    """Download one jar, check it and move it to its place; a transient failure is tried again."""
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    failure: Exception | None = None
    for attempt in range(_ATTEMPTS):
        if attempt and meter.cancelled.wait(0.5 * 2**attempt):
            return
        try:
            path = Path(artifact.resolve())
            _check(path, jar)
            path.replace(folder / jar.filename)
        except _Cancelled:
            return
        except Exception as error:  # whatever the registry, the proxy or the library raises: try again, then say it
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise DataDirectoryError(
                    f"the disk of {folder} is full", hint="free 100 MB, or set XDG_CACHE_HOME to another disk"
                ) from error
            failure = error
            # jgo refuses to write over what an interrupted download left.
            artifact.cached_path.unlink(missing_ok=True)
        else:
            meter.add(jars=1)
            return
    raise JarsUnavailable(
        f"{jar.group}:{jar.artifact}:{jar.version} could not be fetched: {_summary(failure)}", hint=_HINT
    ) from failure


def _check(path: Path, jar: Jar) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != jar.sha256:
        raise JarsUnavailable(f"{jar.filename} is not the pinned file (sha256 {digest}, expected {jar.sha256})")


def _summary(error: Exception | None) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "..."
