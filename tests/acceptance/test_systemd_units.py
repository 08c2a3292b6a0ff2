"""The units in deploy/systemd, as systemd itself reads and judges them (Debian's package `systemd` has the tool)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from elsa.config import Settings
from elsa.units import seconds
from elsa.worker.notify import WAITING_SECONDS
from elsa.worker.probes import LOADING_SECONDS, SILENT_SECONDS

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = FOLDER / "elsa-worker@.service"


def analyze(*argv: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    assert tool is not None, "systemd-analyze is missing: apt-get install systemd"
    return subprocess.run([tool, *argv], capture_output=True, text=True, timeout=60)


def values(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


@pytest.mark.parametrize("unit", sorted(path.name for path in FOLDER.iterdir()))
def test_systemd_finds_nothing_wrong(unit: str) -> None:
    found = analyze("verify", str(FOLDER / unit))

    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_what_the_service_is_exposed_to_is_little() -> None:
    found = analyze("security", "--offline=true", "--threshold=20", str(UNIT))

    assert found.returncode == 0, found.stdout


def test_times_fit_what_a_worker_takes() -> None:
    defaults = Settings()
    (stop,), (start,), (watchdog,) = values("TimeoutStopSec"), values("TimeoutStartSec"), values("WatchdogSec")

    assert seconds(stop) >= defaults.stop_timeout + 10
    assert seconds(start) >= LOADING_SECONDS + WAITING_SECONDS
    assert seconds(watchdog) >= SILENT_SECONDS


def test_it_waits_for_word_of_the_supervisor_alone_and_stops_it_first() -> None:
    expected = {"Type": ["notify"], "NotifyAccess": ["main"], "KillMode": ["mixed"], "Restart": ["on-failure"]}

    assert {name: values(name) for name in expected} == expected
