"""`dashboards/build.py` as a program of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dashboards import build


def test_without_its_packages_it_says_which_and_how_to_get_them(tmp_path: Path) -> None:
    script = Path(build.__file__)
    # -S leaves the installed packages out
    ran = subprocess.run(
        [sys.executable, "-S", "-E", str(script), "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 1
    assert ran.stderr.startswith("build.py: not installed: ")
    assert "grafana_foundation_sdk" in ran.stderr
    assert "make .venv/.installed-dev" in ran.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_folder_that_can_not_be_written_is_told_in_one_line(
    below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # a file in its place, so that root can not write there either
    place = tmp_path / "out"
    place.write_text("")

    with pytest.raises(SystemExit) as ended:
        build.main(["--out", str(place / below)])

    said = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert "error: argument --out: " in said
    assert str(place) in said
    assert "can not be written" in said
