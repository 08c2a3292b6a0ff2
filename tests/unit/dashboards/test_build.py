"""`dashboards/build.py` says what is wrong with what it was given, and what it is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dashboards import build
from dashboards.thresholds import Thresholds


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("lag=60", "there is no threshold 'lag'; there are lag_age_seconds"),
        ("lag_age_seconds=soon", "needs a number, as in lag_age_seconds=60, not 'soon'"),
        ("lag_age_seconds=-5", "has to be above 0, not -5"),
        ("error_ratio=5", "is a share of 1 and has to be below it, not 5"),
    ],
)
def test_a_wrong_threshold_is_named(setting: str, why: str) -> None:
    with pytest.raises(ValueError, match="threshold") as refused:
        Thresholds().changed([setting])

    assert why in str(refused.value)


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
