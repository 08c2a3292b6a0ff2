"""`elsa config` through the real command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from elsa import exits
from elsa.cli import cli

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_setting_is_shown_with_its_source(folder: Path) -> None:
    (folder / "elsa.toml").write_text("processes = 3")

    done = CliRunner().invoke(
        cli, ["config", "-b", "one:1", "--json"], env={"ELSA_DRAIN_TIMEOUT": "5s", "ELSA_APP": None}
    )
    rows = {row["name"]: (row["value"], row["source"]) for row in json.loads(done.stdout)}

    assert rows["brokers"] == ("one:1", "argument")
    assert rows["drain_timeout"] == (5.0, "environment ELSA_DRAIN_TIMEOUT")
    assert rows["processes"] == (3, str(folder / "elsa.toml"))
    assert rows["commit_every"] == (1000, "default")


def test_only_changes_are_shown_when_asked() -> None:
    done = CliRunner().invoke(cli, ["config", "--changed"], env={"ELSA_PROCESSES": "4", "ELSA_BROKERS": None})

    lines = [line.split() for line in done.stdout.splitlines()]

    assert lines == [["name", "value", "source"], ["processes", "4", "environment", "ELSA_PROCESSES"]]


@pytest.mark.parametrize("arguments", [["config"], ["config", "--json"]])
def test_secrets_are_never_shown(arguments: list[str], folder: Path) -> None:
    (folder / "secret").write_text("hidden-one\n")
    env = {
        "ELSA_KAFKA__SASL__PASSWORD_FILE": str(folder / "secret"),
        "ELSA_KAFKA__SSL__KEY__PASSWORD": "hidden-two",
        "ELSA_KAFKA__SASL__USERNAME": "ann",
    }

    done = CliRunner().invoke(cli, arguments, env=env)

    assert "hidden" not in done.output
    assert "kafka.sasl.password" in done.stdout
    assert "ann" in done.stdout


def test_the_settings_of_an_app_are_shown(folder: Path) -> None:
    (folder / "shown_app.py").write_text("import elsa\napp = elsa.App('shown', processes=7)\n")

    done = CliRunner().invoke(cli, ["config", "-A", "shown_app", "--json", "-b", "two:2"])
    rows = {row["name"]: (row["value"], row["source"]) for row in json.loads(done.stdout)}

    assert rows["name"] == ("shown", "argument")
    assert rows["processes"] == (7, "argument")
    assert rows["brokers"] == ("two:2", "argument")


def test_a_wrong_variable_is_a_usage_error() -> None:
    done = CliRunner().invoke(cli, ["config"], env={"ELSA_PROCESES": "4"})

    assert done.exit_code == exits.USAGE
    assert done.stderr == (
        "error: ELSA_PROCESES (environment) is no setting of Elsa\n  hint: did you mean ELSA_PROCESSES?\n"
    )
