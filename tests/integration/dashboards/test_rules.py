"""promtool reads the rules, and its unit tests hold: each alert fires once and stays silent where it should."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from dashboards.alarms import Places, alerts
from dashboards.build import HERE, files, write
from dashboards.thresholds import Thresholds

from .prometheus import promtool, require_prometheus

if TYPE_CHECKING:
    from pathlib import Path

TESTS = HERE / "alert-tests.yaml"


@pytest.fixture(autouse=True)
def _needs_promtool() -> None:
    require_prometheus()


@pytest.mark.parametrize("faster", [1, 60, 1_000])
def test_promtool_accepts_the_rules_however_fast(tmp_path: Path, faster: float) -> None:
    write(tmp_path, files(Thresholds(faster=faster), Places()))
    checked = promtool("check", "rules", tmp_path / "alerts/recording.yaml", tmp_path / "alerts/alerts.yaml")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.findall(r"(\d+) rules found", checked.stdout) == ["4", "12"]


def test_the_unit_tests_of_the_alerts_hold() -> None:
    checked = promtool("test", "rules", TESTS)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_configuration_in_the_readme_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n# prometheus\.yml\n(.*?)```", (HERE / "README.md").read_text(), re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copytree(HERE / "alerts", tmp_path / "alerts")
    checked = promtool("check", "config", tmp_path / "prometheus.yml")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("rules found") == 2


def test_every_alert_fires_once_and_is_silent_once() -> None:
    for alert in alerts(Thresholds()):
        cases = re.findall(rf"  - alertname: {alert.name}\n    eval_time: \w+\n(    exp_alerts:)?", TESTS.read_text())
        assert set(cases) == {"", "    exp_alerts:"}, alert.name


@pytest.mark.parametrize("alert", [each.name for each in alerts(Thresholds())])
def test_an_alert_that_never_fires_fails_the_tests(tmp_path: Path, alert: str) -> None:
    shutil.copy(TESTS, tmp_path)
    shutil.copytree(HERE / "alerts", tmp_path / "alerts")
    path = tmp_path / "alerts" / "alerts.yaml"
    text = path.read_text()
    path.write_text(text.replace(f"- alert: {alert}\n", f"- alert: {alert}Not\n"))

    assert promtool("test", "rules", tmp_path / TESTS.name).returncode == 1
