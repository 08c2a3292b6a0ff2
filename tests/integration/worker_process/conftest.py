"""Supervisors in processes of their own, over stand-in worker processes that need no Kafka."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
PATIENCE = 60.0


class Run:
    """One supervisor process; `events` grows while it runs."""

    def __init__(self, folder: Path, lives: dict[str, list[str]], plan: dict[str, Any]) -> None:
        self.folder = folder
        children = {"folder": str(folder), "lives": lives, "settings": plan.pop("settings", {})}
        terminal, silent = plan.pop("terminal", None), plan.pop("silent", None)
        argument = {"children": children, "endpoint": plan.pop("endpoint", False), "supervisor": plan}
        if silent is not None:
            argument["silent"] = silent
        if (code := plan.pop("code", None)) is not None:
            (folder / "code").mkdir()
            self.save(code)
            argument["watch"] = str(folder / "code")
            plan["waits_for_code"] = True
        command = [sys.executable, str(HERE / "run_supervisor.py"), json.dumps(argument)]
        with (folder / "stderr").open("w") as errors:
            self.process = subprocess.Popen(
                command if terminal is None else [*command, "terminal"],
                stdin=terminal,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self.events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                with self._news:
                    self.events.append(json.loads(line))
                    self._news.notify_all()

    def all(self, kind: str, **facts: Any) -> list[dict[str, Any]]:
        return [e for e in list(self.events) if e["kind"] == kind and facts.items() <= e.items()]

    def wait_for(self, kind: str, count: int = 1, **facts: Any) -> dict[str, Any]:
        """The count-th event of this kind."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.all(kind, **facts)) >= count, PATIENCE), (kind, self.events)
        return self.all(kind, **facts)[count - 1]

    def journal(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        """What the stand-ins noted."""
        path = self.folder / "journal"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if line["event"] == event and facts.items() <= line.items()]

    def wait_for_note(self, event: str, count: int = 1, **facts: Any) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while len(found := self.journal(event, **facts)) < count:
            assert time.monotonic() < deadline, (event, facts)
            time.sleep(0.02)  # a file of another process tells nobody that it grew
        return found[count - 1]

    def set(self, **settings: Any) -> None:
        """What the App says of itself from now on, to processes that start."""
        fresh = self.folder / "settings.new"
        fresh.write_text(json.dumps(settings))
        fresh.rename(self.folder / "settings")

    def save(self, behaviour: str, name: str = "shop.py") -> None:
        """Write code as an editor does, whole."""
        fresh = self.folder / "code" / f".{name}.new"
        fresh.write_text(behaviour)
        fresh.rename(fresh.with_name(name))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def code(self) -> int:
        """Wait for its end."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def pids(self) -> list[int]:
        return [event["pid"] for event in self.all("started")]

    def clean_up(self) -> None:
        for pid in [*self.pids(), self.process.pid]:
            # a stand-in's id can only be another's by now when it has ended: then its command line differs
            command = Path(f"/proc/{pid}/cmdline")
            with contextlib.suppress(OSError):
                if b"stand_in.py" in (text := command.read_bytes()) or b"run_supervisor.py" in text:
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def wait_until_gone() -> Callable[[int], None]:
    def wait(pid: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while is_running(pid):
            assert time.monotonic() < deadline, f"process {pid} still runs"
            time.sleep(0.02)  # no event tells the end of a process that is nobody's child here

    return wait


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """`supervise({"0": ["crash", "serve"]}, processes=2, ...)` runs a Supervisor with these behaviours."""
    runs: list[Run] = []

    def run(lives: dict[str, list[str]] | None = None, **plan: Any) -> Run:
        folder = tmp_path / str(len(runs))
        folder.mkdir()
        runs.append(Run(folder, lives or {}, plan))
        return runs[-1]

    yield run
    for each in runs:
        each.clean_up()
