"""`elsa completion`: the scripts, and what a shell gets when it asks by click's protocol."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from elsa.cli import SECTIONS, cli

ASK = "from elsa.cli import main; main()"


def completions(*words: str, last: str) -> list[str]:
    env = {
        **os.environ,
        "_ELSA_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["elsa", *words, last]),
        "COMP_CWORD": str(len(words) + 1),
    }
    done = subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True, check=True)
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_accepts_the_script() -> None:
    script = CliRunner().invoke(cli, ["completion", "bash"]).stdout

    done = subprocess.run(["bash", "--norc", "-c", f"{script}\ncomplete -p elsa"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "_elsa_completion elsa" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_asks_elsa(shell: str) -> None:
    assert f"_ELSA_COMPLETE={shell}_complete" in CliRunner().invoke(cli, ["completion", shell]).stdout


def test_another_shell_is_refused() -> None:
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in CliRunner().invoke(cli, ["completion", "tcsh"]).stderr


def test_every_command_is_completed() -> None:
    assert completions(last="") == [name for section in SECTIONS.values() for name in section]


def test_a_command_is_completed_from_its_beginning() -> None:
    assert completions(last="co") == ["control", "config", "completion"]


def test_options_of_the_root_and_of_a_command_are_completed() -> None:
    assert "--version" in completions(last="--")
    assert "--changed" in completions("config", last="--")
