"""Runs the real command line against the real broker, in this process or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from elsa.cli import cli
from elsa.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from elsa.message import Message

    Read = Callable[[str], list[Message]]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


class Elsa:
    """`elsa("topics", "list")` runs in this process, `elsa.start(...)` as a process of its own."""

    def __init__(self, brokers: str, folder: Path) -> None:
        self.brokers = brokers
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self, *arguments: str, stdin: str | bytes | None = None, **env: str) -> Ran:
        done = CliRunner().invoke(cli, arguments, input=stdin, env={"ELSA_BROKERS": self.brokers, **env})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ran(done.exit_code, done.stdout, done.stderr)

    def start(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "elsa", *arguments],
            env={**os.environ, "ELSA_BROKERS": self.brokers, **(env or {})},
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
        )
        self.started.append(process)
        return process


@pytest.fixture
def elsa(brokers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsa]:
    for name in list(os.environ):
        if name.startswith("ELSA_") and not name.startswith("ELSA_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    elsa = Elsa(brokers, tmp_path)
    yield elsa
    for process in elsa.started:
        process.kill()
        process.communicate()


@pytest.fixture
def read(brokers: str) -> Read:
    """`read(topic)` gives every message of a topic, by partition and offset."""
    from elsa.fetcher import Fetcher

    def everything(topic: str) -> list[Message]:
        return sorted(Fetcher(Settings(brokers=brokers)).stream(topic), key=lambda m: (m.partition, m.offset))

    return everything
