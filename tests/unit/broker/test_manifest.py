from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from elsa.broker.manifest import Manifest, new_manifest, read_manifest, require_own
from elsa.errors import DataDirectoryError

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = new_manifest(3)
    written.write(tmp_path)

    assert written == read_manifest(tmp_path, 3)
    assert not written.is_formatted
    assert len(written.cluster_id) == 22


def test_no_cluster_id_looks_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = iter([uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(bytes=b"\x04" + bytes(15))])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(ids))

    assert new_manifest(1).cluster_id == "B" + 21 * "A"


def test_a_new_folder_has_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path, 1) is None


def test_a_cluster_of_another_size_is_refused_with_the_way_out(tmp_path: Path) -> None:
    new_manifest(3).write(tmp_path)

    with pytest.raises(
        DataDirectoryError, match=r"a cluster of 3 node\(s\), not of 1\n  hint: start it with --nodes 3"
    ):
        read_manifest(tmp_path, 1)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"nodes": 1}', "\x00" * 40])
def test_a_damaged_manifest_says_which_folder_to_remove(tmp_path: Path, damage: str) -> None:
    (tmp_path / "cluster.json").write_text(damage)

    with pytest.raises(DataDirectoryError, match=f"is damaged(.|\n)*remove the folder {tmp_path} "):
        read_manifest(tmp_path, 1)


def test_a_folder_with_foreign_files_is_never_filled(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")

    with pytest.raises(DataDirectoryError, match="is not empty and holds no data of an embedded broker"):
        require_own(tmp_path)


def test_empty_new_and_own_folders_are_accepted(tmp_path: Path) -> None:
    require_own(tmp_path)
    require_own(tmp_path / "new")
    (tmp_path / "lock").write_text("")
    require_own(tmp_path)
    Manifest("id", 1).write(tmp_path)
    (tmp_path / "node-1").mkdir()
    require_own(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DataDirectoryError, match="is no folder"):
        require_own(tmp_path / "file")
