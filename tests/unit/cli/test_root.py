"""The root group: what `elsa --help` shows and imports, and how each run ends."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from elsa import __version__, errors, exits
from elsa.cli import SECTIONS, Root, cli

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS = {name: text for section in SECTIONS.values() for name, text in section.items()}


def ending(raising: BaseException | None = None, result: object = None, *args: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a root group with one command that raises or returns."""

    class One(Root):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return ["one"]

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            def run() -> object:
                if raising is not None:
                    raise raising
                return result

            return click.Command("one", callback=run)

    done = CliRunner().invoke(One("elsa", params=cli.params), [*args, "one"])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_table_of_commands_says_what_each_command_says(name: str) -> None:
    command = importlib.import_module(f"elsa.cli.{name}").command

    assert command.name == name
    assert command.get_short_help_str(limit=200) == COMMANDS[name]


def test_help_shows_every_command_and_every_exit_code() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).stdout

    assert all(f"  {name} " in shown and text in shown for name, text in COMMANDS.items())
    assert all(f"{code:>3}  {meaning}" in shown for code, meaning in exits.MEANINGS.items())


def test_every_exit_code_has_a_meaning() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}

    assert codes == set(exits.MEANINGS)


def test_help_imports_neither_commands_nor_anything_heavy() -> None:
    script = (
        "import sys\nfrom elsa.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('confluent_kafka', 'rich', 'msgspec', 'prometheus_client', 'opentelemetry', 'asyncio')"
        " or m.startswith('elsa.cli.')], file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=True)

    assert "Usage: elsa" in done.stdout
    assert done.stderr.strip() == "[]"


def test_the_version_is_printed() -> None:
    done = subprocess.run([sys.executable, "-m", "elsa", "--version"], capture_output=True, text=True, check=True)

    assert done.stdout == f"elsa, version {__version__}\n"


def test_a_misspelt_command_is_refused_with_a_near_one() -> None:
    done = CliRunner().invoke(cli, ["topisc"])

    assert done.exit_code == exits.USAGE
    assert "No such command 'topisc'. Did you mean 'topics'?" in done.stderr


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (errors.ElsaError, exits.FAILED),
        (errors.ProduceError, exits.FAILED),
        (errors.ConfigError, exits.USAGE),
        (errors.DeclarationError, exits.USAGE),
        (errors.AppNotFound, exits.APP_NOT_FOUND),
        (errors.BrokerUnavailable, exits.BROKER),
        (errors.AuthenticationFailed, exits.BROKER),
        (errors.UnknownTopic, exits.NOT_FOUND),
        (errors.UnknownPartition, exits.NOT_FOUND),
        (errors.OffsetOutOfRange, exits.NOT_FOUND),
        (errors.UnknownGroup, exits.NOT_FOUND),
        (errors.UnknownDeadLetter, exits.NOT_FOUND),
        (errors.ForcedStop, exits.FORCED),
        (errors.WorkerStartError, exits.WORKER_FAILED),
    ],
)
def test_each_kind_of_error_ends_in_its_code_and_one_line(make: Callable[[str], errors.ElsaError], code: int) -> None:
    assert ending(make("it went wrong")) == (code, "", "error: it went wrong\n")


def test_hints_and_notes_follow_the_error() -> None:
    error = errors.ConfigError("wrong", hint="do this")
    error.add_note("  seen there")

    assert ending(error)[2] == "error: wrong\n  hint: do this\n  seen there\n"


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" in ending(errors.ElsaError("x"), None, "--debug")[2]
    assert "Traceback" not in ending(errors.ElsaError("x"))[2]

    monkeypatch.setenv("ELSA_DEBUG", "1")

    assert "Traceback" in ending(errors.ElsaError("x"))[2]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_ends_quietly_in_130(error: BaseException) -> None:
    assert ending(error) == (exits.INTERRUPTED, "", "\n")


def test_a_closed_pipe_ends_quietly() -> None:
    assert ending(BrokenPipeError()) == (exits.PIPE_CLOSED, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "elsa", "config"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert (done.returncode, done.stderr) == (
        exits.FAILED,
        "error: the output cannot be written: No space left on device\n",
    )


def test_output_that_nobody_wants_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m elsa config >&-', sys.executable], stderr=subprocess.PIPE, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (exits.OK, "")


def test_a_returned_number_is_the_exit_code() -> None:
    assert ending(None, exits.CHECK_FAILED)[0] == exits.CHECK_FAILED
    assert ending(None, None)[0] == exits.OK


def test_a_bug_keeps_its_own_exception() -> None:
    done = CliRunner().invoke(click.Group("elsa", commands={}), ["x"])
    assert done.exit_code == exits.USAGE

    assert ending(ZeroDivisionError())[0] == exits.FAILED
