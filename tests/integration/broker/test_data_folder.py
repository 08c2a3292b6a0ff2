"""What a broker keeps survives its stop, belongs to one broker at a time, and is named when it is damaged."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from elsa.broker import EmbeddedKafka
from elsa.errors import DataDirectoryError
from elsa.kafka import probe

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.broker


def test_topics_survive_a_restart_and_one_broker_at_a_time_has_them(tmp_path: Path) -> None:
    folder = tmp_path / "mön data"
    with EmbeddedKafka(data_dir=folder) as kafka:
        probe.create_topic(kafka.bootstrap, "kept", 3)
        with pytest.raises(DataDirectoryError, match=f"is in use by process {os.getpid()}"):
            EmbeddedKafka(data_dir=folder).start()
        assert kafka.is_alive()

    with EmbeddedKafka(data_dir=folder) as again:
        assert probe.list_topics(again.bootstrap) == ["kept"]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that a broker has used."""
    folder = tmp_path_factory.mktemp("used") / "data"
    with EmbeddedKafka(data_dir=folder):
        return folder


@pytest.mark.parametrize("damage", ["", "garbage", "version=1\ncluster.id=x\nnode.id=7\n", None])
def test_a_damaged_folder_is_named_as_the_one_to_remove(used: Path, tmp_path: Path, damage: str | None) -> None:
    folder = tmp_path / "data"
    shutil.copytree(used, folder)
    broker = EmbeddedKafka(data_dir=folder)
    properties = folder / "node-1" / "data" / "meta.properties"
    if damage is None:
        properties.unlink()
    else:
        properties.write_text(damage)

    with pytest.raises(DataDirectoryError, match=f"is damaged(.|\\n)*remove the folder {folder} "):
        broker.start()

    assert broker.pids == []


def test_a_format_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    half = folder / "node-1" / "data"
    half.mkdir(parents=True)
    (half / "bootstrap.checkpoint").write_bytes(b"\x00" * 10)
    (folder / "cluster.json").write_text(
        '{"cluster_id": "o5lNhtn7SRmVdhjQ3PXGSw", "nodes": 1, "kafka": "4.4.0", "is_formatted": false}'
    )

    with EmbeddedKafka(data_dir=folder) as kafka:
        assert probe.list_topics(kafka.bootstrap) == []
