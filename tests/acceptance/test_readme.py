"""The README is run: the files of its tutorial are written, its commands executed on a real Kafka, what they print
is looked for; and its tables are compared with the code.

A fenced block says what it is: `file=NAME` is a file to write, `console` holds commands (`$ ...`) and, under each,
texts that it prints, `terminal=NAME` keeps a command running in the background, and a `text` block with that
terminal's name holds what it prints there.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.broker.ports import free_ports
from elsa.config import Settings
from elsa.observe.catalogue import CATALOGUE
from elsa.observe.probing import PATHS
from elsa.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PATIENCE_SECONDS = 120.0
#: commands that only look may have looked too early
LOOKS = ("elsa fetch", "elsa dlq list", "elsa groups", "elsa topics")


@dataclass
class Block:
    language: str
    options: dict[str, str]
    text: str


def blocks(markdown: str) -> list[Block]:
    found = []
    for info, text in re.findall(r"^```([^\n]*)\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL):
        language, *options = info.split() or [""]
        found.append(Block(language, dict(option.split("=", 1) for option in options), text))
    return found


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block with the texts that it should print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *expected = part.splitlines()
        yield command, [line for line in expected if line.strip()]


def section(title: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", README, re.MULTILINE | re.DOTALL)
    assert match is not None, title
    return match[2]


def first_column(text: str, heading: str) -> list[str]:
    """The cells under a heading of a table, code marks removed, one entry for each name in a cell."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |")) + 2
    cells = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        cells += [cell.strip(" `") for cell in line.split("|")[1].split(",")]
    return cells


class Terminal:
    """A command in the background whose output is read line by line."""

    def __init__(self, name: str, argv: list[str], folder: Path, env: dict[str, str]) -> None:
        self.name = name
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            argv,
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    def expect(self, text: str) -> None:
        with self._changed:
            arrived = self._changed.wait_for(lambda: any(text in line for line in self.lines), PATIENCE_SECONDS)
        assert arrived, f"{text!r} is not in the output of {self.name}:\n{''.join(self.lines)}"

    def stop(self) -> int:
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()


class Reader:
    """Follows the tutorial as a reader would, with one terminal for each name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.terminals: dict[str, Terminal] = {}
        own = {name: value for name, value in os.environ.items() if not name.startswith("ELSA_")}
        # the tutorial uses the default address; other tests may run a broker there
        self.env = own | {
            "ELSA_BROKERS": f"127.0.0.1:{self.port}",
            "ELSA_RUNTIME_DIR": str(folder / "run"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{own.get('PATH', '')}",
        }

    def follow(self, block: Block) -> None:
        if "file" in block.options:
            (self.folder / block.options["file"]).write_text(block.text)
        elif block.language == "text":
            for line in block.text.splitlines():
                self.terminals[block.options["terminal"]].expect(line)
        elif block.language == "console":
            for command, expected in commands(block.text):
                self._type(command, expected, block.options.get("terminal"))

    def _type(self, command: str, expected: list[str], name: str | None) -> None:
        argv = shlex.split(command)
        if argv[:2] == ["elsa", "broker"]:
            argv += ["--port", str(self.port), "--ephemeral"]
        if name is None:
            self._run(command, argv, expected)
            return
        self.terminals[name] = Terminal(name, argv, self.folder, self.env)
        for line in expected:
            self.terminals[name].expect(line)

    def _run(self, command: str, argv: list[str], expected: list[str]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            done = subprocess.run(argv, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=120)
            missing = [line for line in expected if line not in done.stdout]
            if not missing and done.returncode == 0:
                return
            if not command.startswith(LOOKS) or time.monotonic() > deadline:
                pytest.fail(
                    f"{command}: exit code {done.returncode}, not printed: {missing}\n{done.stdout}{done.stderr}"
                )
            time.sleep(0.2)

    def stop(self) -> dict[str, int]:
        """End everything, last started first."""
        return {name: terminal.stop() for name, terminal in reversed(self.terminals.items())}


@pytest.mark.broker
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        for block in blocks(section("Five minutes")):
            reader.follow(block)
    finally:
        codes = reader.stop()

    assert codes == {"kafka": exits.OK, "worker": exits.OK}


def test_the_tests_of_handlers_pass(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for block in blocks(section("Five minutes")):
        if block.options.get("file") == "shop.py":
            reader.follow(block)
    for block in blocks(section("Testing your handlers")):
        reader.follow(block)

    assert (tmp_path / "test_shop.py").exists()


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", section("Running it"), re.MULTILINE)

    assert {int(code): text for code, text in rows} == dict(exits.MEANINGS)


def test_every_option_of_a_handler_is_in_the_table() -> None:
    documented = set(first_column(section("Options"), "option"))

    assert {field.name for field in dataclasses.fields(Options)} | {"group", "name"} == documented


def test_every_setting_is_in_the_table() -> None:
    documented = set(first_column(section("Settings"), "setting"))

    assert {field.name for field in dataclasses.fields(Settings)} == documented


def test_metrics_and_addresses_are_those_of_the_code() -> None:
    text = section("Metrics and probes")

    assert set(first_column(text, "metric")) <= CATALOGUE.keys()
    assert set(re.findall(r"`(/\w+)`", text)) == {"/metrics", "/statusz", *PATHS.values()}


def test_links_lead_to_files_and_headings() -> None:
    headings = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings
        else:
            assert (ROOT / target).exists(), target
