"""The jar cache against a registry on this machine, served over HTTP from a folder."""

from __future__ import annotations

import collections
import dataclasses
import functools
import gc
import hashlib
import http.server
import io
import shutil
import socket
import subprocess
import sys
import threading
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from elsa.broker import jars as module
from elsa.broker.jars import Jar, classpath, pinned_jars
from elsa.errors import DataDirectoryError, JarsUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytest.importorskip("jgo")


class _Handler(http.server.SimpleHTTPRequestHandler):
    requests: collections.Counter[str]
    refusals: collections.Counter[str]

    def do_GET(self) -> None:
        self.requests[self.path] += 1
        if self.refusals[self.path]:
            self.refusals[self.path] -= 1
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@dataclasses.dataclass
class _Registry:
    folder: Path
    url: str
    requests: collections.Counter[str]
    #: how often a path is still answered with 503
    refusals: collections.Counter[str]

    @property
    def repositories(self) -> Mapping[str, str]:
        return {"local": self.url}

    def publish(self, artifact: str) -> Jar:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("content.txt", artifact * 100)
        body = content.getvalue()
        path = self.folder / "org" / "example" / artifact / "1.0" / f"{artifact}-1.0.jar"
        path.parent.mkdir(parents=True)
        path.write_bytes(body)
        return Jar("org.example", artifact, "1.0", len(body), hashlib.sha256(body).hexdigest())

    def times_fetched(self, artifact: str) -> int:
        return self.requests[self.path_of(artifact)]

    @staticmethod
    def path_of(artifact: str) -> str:
        return f"/org/example/{artifact}/1.0/{artifact}-1.0.jar"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[_Registry]:
    folder = tmp_path / "registry"
    folder.mkdir()
    requests: collections.Counter[str] = collections.Counter()
    refusals: collections.Counter[str] = collections.Counter()
    handler = type("Handler", (_Handler,), {"requests": requests, "refusals": refusals})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield _Registry(folder, f"http://127.0.0.1:{server.server_address[1]}", requests, refusals)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "_ATTEMPTS", 1)
    yield
    # jgo 3.2 leaves the response open that it refuses; the warning would be blamed on whichever test comes later.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_the_shipped_list_pins_every_jar_with_size_and_digest() -> None:
    jars = pinned_jars()

    assert len(jars) == 45
    assert {"kafka-clients-4.4.0.jar", "kafka_2.13-4.4.0.jar"} <= {jar.filename for jar in jars}
    assert all(jar.size > 0 and len(jar.sha256) == 64 for jar in jars)


def test_missing_jars_are_fetched_once_in_the_order_asked_for(registry: _Registry, tmp_path: Path) -> None:
    wanted = [registry.publish(name) for name in ("zeta", "alpha", "mid")]

    first = classpath(cache=tmp_path / "cache", repositories=registry.repositories, jars=wanted)
    second = classpath(cache=tmp_path / "cache", repositories=registry.repositories, jars=wanted)

    assert [path.name for path in first] == ["zeta-1.0.jar", "alpha-1.0.jar", "mid-1.0.jar"]
    assert first == second
    assert [registry.times_fetched(jar.artifact) for jar in wanted] == [1, 1, 1]


def test_progress_ends_with_every_jar_and_every_byte(registry: _Registry, tmp_path: Path) -> None:
    wanted = [registry.publish(name) for name in ("a", "b")]
    seen: list[tuple[int, int, int]] = []

    classpath(lambda *now: seen.append(now), cache=tmp_path, repositories=registry.repositories, jars=wanted)

    assert seen[0] == (0, 2, 0)
    assert (2, 2, sum(jar.size for jar in wanted)) == seen[-1]
    assert seen == sorted(seen)


@pytest.mark.parametrize("damage", ["shorter", "zeros", "gone"])
def test_a_torn_file_in_the_cache_is_fetched_again(registry: _Registry, tmp_path: Path, damage: str) -> None:
    wanted = [registry.publish("torn"), registry.publish("whole")]
    path = classpath(cache=tmp_path / "c", repositories=registry.repositories, jars=wanted)[0]
    good = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(good[:-10] if damage == "shorter" else bytes(len(good)))

    classpath(cache=tmp_path / "c", repositories=registry.repositories, jars=wanted)

    assert good == path.read_bytes()
    assert [registry.times_fetched(jar.artifact) for jar in wanted] == [2, 1]


def test_a_file_other_than_the_pinned_one_is_refused(registry: _Registry, tmp_path: Path) -> None:
    jar = dataclasses.replace(registry.publish("forged"), sha256="0" * 64)

    with pytest.raises(JarsUnavailable, match=r"forged-1\.0\.jar is not the pinned file"):
        classpath(cache=tmp_path / "c", repositories=registry.repositories, jars=[jar])

    assert list((tmp_path / "c").rglob("*.jar")) == []


def test_a_jar_that_the_registry_lacks_is_named(registry: _Registry, tmp_path: Path) -> None:
    jar = registry.publish("lost")
    shutil.rmtree(registry.folder / "org")

    with pytest.raises(JarsUnavailable, match=r"org\.example:lost:1\.0 could not be fetched") as caught:
        classpath(cache=tmp_path / "c", repositories=registry.repositories, jars=[jar])

    assert "set KAFKA_HOME" in str(caught.value)
    assert list((tmp_path / "c").rglob(".fetch-*")) == []


def test_an_unreachable_registry_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]

    with pytest.raises(JarsUnavailable, match=r"could not be fetched(.|\n)*hint: check the network, the proxy"):
        classpath(cache=tmp_path, repositories={"closed": f"http://127.0.0.1:{closed}"})


def test_a_transient_failure_is_tried_again(
    registry: _Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ATTEMPTS", 2)
    jar = registry.publish("shy")
    registry.refusals[registry.path_of("shy")] = 1

    paths = classpath(cache=tmp_path / "c", repositories=registry.repositories, jars=[jar])

    assert paths[0].exists()
    assert registry.times_fetched("shy") == 2


def test_a_full_disk_is_named_before_the_fetch(
    registry: _Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = registry.publish("big")
    monkeypatch.setattr(module, "free_bytes", lambda _: 10)

    with pytest.raises(DataDirectoryError, match="is full"):
        classpath(cache=tmp_path / "c", repositories=registry.repositories, jars=[jar])

    assert registry.times_fetched("big") == 0


def test_leftovers_of_a_killed_fetch_are_removed(registry: _Registry, tmp_path: Path) -> None:
    leftover = tmp_path / "c" / "kafka-4.4.0" / ".fetch-killed"
    leftover.mkdir(parents=True)

    classpath(cache=tmp_path / "c", repositories=registry.repositories, jars=[registry.publish("new")])

    assert not leftover.exists()


def test_two_processes_at_once_fetch_each_jar_once(registry: _Registry, tmp_path: Path) -> None:
    wanted = [registry.publish(f"jar{n}") for n in range(6)]
    script = f"""
from pathlib import Path
from elsa.broker.jars import Jar, classpath
wanted = {[(j.group, j.artifact, j.version, j.size, j.sha256) for j in wanted]!r}
classpath(cache=Path({str(tmp_path / "c")!r}), repositories={dict(registry.repositories)!r},
          jars=[Jar(*fields) for fields in wanted])
"""
    both = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]

    assert [process.wait(60) for process in both] == [0, 0]
    assert [registry.times_fetched(jar.artifact) for jar in wanted] == [1] * 6


def test_without_jgo_the_error_says_what_to_install(
    registry: _Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jgo.config", None)

    with pytest.raises(JarsUnavailable, match=r"jgo, which fetches them, is not installed(.|\n)*elsa\[broker\]"):
        classpath(cache=tmp_path / "c", jars=[registry.publish("x")])


def test_kafka_home_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libs").mkdir()
    for name in ("kafka_2.13-4.1.0.jar", "a.jar"):
        (tmp_path / "libs" / name).write_bytes(b"")
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))

    assert [tmp_path / "libs" / "a.jar", tmp_path / "libs" / "kafka_2.13-4.1.0.jar"] == classpath()


def test_a_kafka_home_without_kafka_4_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))

    with pytest.raises(JarsUnavailable, match=r"holds no Kafka 4(.|\n)*unset KAFKA_HOME"):
        classpath()
