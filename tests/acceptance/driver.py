"""Runs `elsa worker` with its worker processes as users do, and takes account of what its handlers have done.

Used by the acceptance tests that kill. Every handler call leaves two records in a journal, an append-only file that
all processes share: one write each, so that a record survives `kill -9` and the file's order is the true one.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import elsa
from elsa.kafka.consumer import GroupConsumer
from elsa.message import TopicPartition
from elsa.testing.kafka import unique_name
from elsa.worker.progress import Progress, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

PATIENCE = 120.0
#: a commit begins within a second, and a busy broker, or one that meets a rebalance, takes its time to answer
UNCOMMITTED_SECONDS = 3.0
#: kind (0 started, 1 ended), partition, pid, offset, id, monotonic seconds
RECORD = struct.Struct("<HHIQQd")

APP = """
import json, os, struct, time
from msgspec import Struct
import elsa

PLAN = json.loads(os.environ["TREE_PLAN"])
RECORD = struct.Struct("<HHIQQd")
JOURNAL = os.open(os.environ["TREE_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
PID = os.getpid()
app = elsa.App(PLAN["app"], **PLAN["settings"])


class Event(Struct):
    id: int
    seconds: float = 0.0
    padding: str = ""


def note(kind, ctx, event):
    message = ctx.message
    record = RECORD.pack(kind, message.partition, PID, message.offset, event.id, time.monotonic())
    os.write(JOURNAL, record)


@app.handler(PLAN["topic"], **PLAN["options"])
def handle(event: Event, ctx: elsa.Context) -> None:
    note(0, ctx, event)
    if event.seconds:
        time.sleep(event.seconds)
    note(1, ctx, event)
"""
#: the same with a handler that runs on the event loop
ASYNC_APP = (
    APP.replace("import json", "import asyncio, json")
    .replace("\ndef handle(", "\nasync def handle(")
    .replace("        time.sleep(", "        await asyncio.sleep(")
)


class Event(msgspec.Struct):
    """What the messages hold: the handler sleeps for `seconds`."""

    id: int
    seconds: float = 0.0
    padding: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One record of the journal."""

    is_end: bool
    partition: int
    pid: int
    offset: int
    id: int
    at: float


def until(is_so: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """Look until something is true and return it; fails the test after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not (found := is_so()):
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout:g} s until {what}")
        time.sleep(0.02)
    return found


@dataclass(slots=True)
class Account:
    """What the journal says about the messages with these ids."""

    calls: list[Call]
    expected: frozenset[int]
    #: how many keys there are, 0 when a partition is one lane
    keys: int = 0
    started: Counter[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.started = Counter((c.partition, c.offset) for c in self.calls if not c.is_end)

    @property
    def lost(self) -> set[int]:
        """Ids that no call has come to its end with."""
        return set(self.expected - {c.id for c in self.calls if c.is_end})

    @property
    def duplicates(self) -> int:
        """Calls beyond the first of each message."""
        return sum(self.started.values()) - len(self.started)

    def in_progress(self, pids: Iterable[int]) -> int:
        """Calls of these processes that never came to their end."""
        ours = set(pids)
        begun = Counter((c.pid, c.partition, c.offset) for c in self.calls if not c.is_end and c.pid in ours)
        ended = Counter((c.pid, c.partition, c.offset) for c in self.calls if c.is_end and c.pid in ours)
        return (begun - ended).total()

    def uncommitted(self, pids: Iterable[int]) -> int:
        """At most so many calls of killed processes had no commit: those in progress, and what ended at the last."""
        last = {pid: max(call.at for call in self.calls if call.pid == pid) for pid in pids}
        lately = sum(c.is_end and c.pid in last and c.at >= last[c.pid] - UNCOMMITTED_SECONDS for c in self.calls)
        return self.in_progress(last) + lately

    def lane(self, call: Call) -> tuple[int, int]:
        """What runs one after the other: a partition, or one key of it."""
        return call.partition, call.id % self.keys if self.keys else 0

    @property
    def disorder(self) -> list[Call]:
        """First deliveries that came after one of a higher offset of the same lane."""
        highest: dict[tuple[int, int], int] = {}
        seen: set[tuple[int, int]] = set()
        found = []
        for call in self.calls:
            if call.is_end or (call.partition, call.offset) in seen:
                continue
            seen.add((call.partition, call.offset))
            lane = self.lane(call)
            if call.offset < highest.get(lane, -1):
                found.append(call)
            highest[lane] = max(call.offset, highest.get(lane, -1))
        return found

    @property
    def overlaps(self) -> list[Call]:
        """Calls that began while another one of the same lane was running."""
        ended = Counter((c.pid, c.partition, c.offset) for c in self.calls if c.is_end)
        begun: Counter[tuple[int, int, int]] = Counter()
        running: Counter[tuple[int, int]] = Counter()
        found = []
        for call in self.calls:
            lane, place = self.lane(call), (call.pid, call.partition, call.offset)
            if call.is_end:
                running[lane] -= 1
                continue
            begun[place] += 1
            if begun[place] > ended[place]:
                continue  # its process was killed: nobody knows until when it ran
            if running[lane] > 0:
                found.append(call)
            running[lane] += 1
        return found

    def gap(self, partition: int, since: float, gone: Iterable[int] = ()) -> float:
        """Seconds from a moment to the first call of a partition after it by a process that is not `gone`."""
        others = (c.at for c in self.calls if c.partition == partition and c.at > since and c.pid not in set(gone))
        return min(others, default=float("inf")) - since

    def stall(self, since: float, until: float) -> float:
        """The longest time between two calls of one partition in an interval."""
        longest = 0.0
        for partition in {c.partition for c in self.calls}:
            moments = [c.at for c in self.calls if c.partition == partition and since <= c.at <= until]
            longest = max([longest, *(b - a for a, b in itertools.pairwise(moments))])
        return longest

    def __str__(self) -> str:
        return (
            f"{len(self.started)} messages, {len(self.lost)} lost, {self.duplicates} duplicates, "
            f"{len(self.disorder)} out of order, {len(self.overlaps)} at the same time"
        )


class Tree:
    """One `elsa worker` (or `elsa dev`) with its processes, in a session of its own; `end` leaves none of them."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: dict[str, str],
        folder: Path,
        terminal: int | None = None,
        log: str | None = None,
        command: str = "worker",
    ) -> None:
        self._mark = f"TREE_MARK={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self.log_path = folder / f"worker-{value[:8]}.log" if log is None else Path(log)
        self.began = time.monotonic()
        with self.log_path.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "elsa", command, *argv],
                cwd=folder,
                env={**env, name: value},
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=output,
                stderr=output,
                start_new_session=True,
                # its keyboard: ctrl-C reaches every process of its foreground group
                preexec_fn=None if terminal is None else lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - a system call takes no lock
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What all processes have written."""
        return self.log_path.read_text(errors="replace") if self.log_path.is_file() else ""

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The log lines of one event (with `--json-logs`)."""
        found = []
        for line in self.log.splitlines():
            if line.startswith("{"):
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if entry.get("event") == kind:
                        found.append(entry)
        return found

    def members(self) -> list[int]:
        """Every process of this tree that runs, found by its environment, so also when its parent is gone."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    is_ours = self._mark.encode() in (entry / "environ").read_bytes().split(b"\0")
                    if is_ours and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                        found.append(int(entry.name))
        return found

    def workers(self) -> list[int]:
        """The worker processes that run."""
        return sorted(pid for pid in self.members() if pid != self.pid)

    def wait_ready(self, count: int = 1, timeout: float = PATIENCE) -> None:
        """Wait until worker processes have been ready so many times."""
        until(lambda: len(self.events("ready")) >= count or self._ended(), f"{count} processes were ready", timeout)

    def _ended(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"the worker has ended with exit code {self.process.returncode}:\n{self.log[-4000:]}")
        return False

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def code(self, timeout: float = PATIENCE) -> int:
        """Wait for the end of the supervisor; its exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the worker did not end within {timeout:g} s:\n{self.log[-4000:]}")

    def stop(self, timeout: float = PATIENCE) -> int:
        """End it in order; its exit code."""
        self.signal(signal.SIGTERM)
        return self.code(timeout)

    def wait_gone(self, timeout: float = PATIENCE) -> None:
        """Wait until no process of it is left."""
        until(lambda: self.process.poll() is not None and not self.members(), "no process is left", timeout)

    def end(self) -> None:
        """Leave nothing behind, in whatever state it is."""
        for _ in range(50):
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(PATIENCE)
            left = self.members()
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)  # nobody's children: no event tells their end
        pytest.fail(f"processes {self.members()} can not be ended")


class Stage:
    """One app, topic and journal; starts trees of it."""

    def __init__(self, brokers: str, topic: str, folder: Path, **settings: Any) -> None:
        self.brokers = brokers
        self.topic = topic
        self.folder = folder
        self.app = unique_name("app")
        self.settings = settings
        self.options: dict[str, Any] = {}
        self.journal_path = folder / "journal"
        self.source = APP
        self.trees: list[Tree] = []
        self._produced = 0
        self._keys = 0
        self.client = elsa.App(unique_name("client"), brokers=brokers)

    def produce(
        self, count: int, *, seconds: float = 0.0, partitions: int = 6, padding: int = 0, keys: int = 0
    ) -> None:
        """Append messages with the next ids, spread evenly; with `keys`, of so many different ones."""
        pad = "x" * padding
        self._keys = keys
        first = self._produced
        for begin in range(first, first + count, 10_000):
            ids = range(begin, min(begin + 10_000, first + count))
            records = [
                elsa.Record(
                    msgspec.json.encode(Event(number, seconds, pad)),
                    partition=(number % keys if keys else number) % partitions,
                    key=str(number % keys) if keys else None,
                )
                for number in ids
            ]
            self.client.produce(self.topic, records)
        self._produced += count

    @property
    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("ELSA_")}
        plan = {"app": self.app, "topic": self.topic, "settings": self.settings, "options": self.options}
        runtime = self.folder / "run"
        runtime.mkdir(exist_ok=True)
        return own | {
            "ELSA_BROKERS": self.brokers,
            "ELSA_RUNTIME_DIR": str(runtime),
            "TREE_PLAN": json.dumps(plan),
            "TREE_JOURNAL": str(self.journal_path),
        }

    def save(self) -> None:
        """Write the app as editors do: the file is never seen half written."""
        fresh = self.folder / ".handlers.py.new"
        fresh.write_text(self.source)
        fresh.rename(self.folder / "handlers.py")

    def edit(self, old: str, new: str) -> None:
        """Change the app, in this file and, for a worker that watches it, on the disk."""
        assert old in self.source
        self.source = self.source.replace(old, new)
        self.save()

    def start(
        self,
        *argv: str,
        json_logs: bool = True,
        terminal: int | None = None,
        target: str = "handlers:app",
        env: dict[str, str] | None = None,
        log: str | None = None,
        command: str = "worker",
    ) -> Tree:
        """Start `elsa worker` on this app."""
        self.save()
        shown = ["--json-logs"] if json_logs else []
        tree = Tree(
            [target, *shown, *argv],
            env=self.environment | (env or {}),
            folder=self.folder,
            terminal=terminal,
            log=log,
            command=command,
        )
        self.trees.append(tree)
        return tree

    def calls(self) -> list[Call]:
        """Everything in the journal, in order."""
        if not self.journal_path.exists():
            return []
        data = self.journal_path.read_bytes()
        return [
            Call(bool(kind), partition, pid, offset, number, at)
            for kind, partition, pid, offset, number, at in RECORD.iter_unpack(
                data[: len(data) // RECORD.size * RECORD.size]
            )
        ]

    def account(self) -> Account:
        return Account(self.calls(), frozenset(range(self._produced)), self._keys)

    @property
    def records(self) -> int:
        """How many records the journal has."""
        return self.journal_path.stat().st_size // RECORD.size if self.journal_path.exists() else 0

    def wait_handled(self, count: int, timeout: float = PATIENCE) -> None:
        """Wait until the handler was called about so many times."""
        until(lambda: self.records >= 2 * count, f"{count} messages were handled", timeout)

    def wait_all(self, timeout: float = PATIENCE) -> Account:
        """Wait until every message was handled at least once, then the account."""

        def is_done() -> bool:
            return self.records >= 2 * self._produced and not self.account().lost

        until(is_done, f"all {self._produced} messages were handled", timeout)
        return self.account()

    def wait_served(self, partitions: Iterable[int], since: float, gone: Iterable[int] = ()) -> float:
        """Wait until each partition had a call after a moment by a process that is not gone; the longest gap."""
        wanted = list(partitions)
        until(
            lambda: all(self.account().gap(p, since, gone) < float("inf") for p in wanted), f"{wanted} are served again"
        )
        return max(self.account().gap(p, since, gone) for p in wanted)

    def committed(self) -> dict[int, int]:
        """The group's committed offsets by partition."""
        found = self.client.groups.committed(self.app)
        return {place.partition: offset for place, offset in found.items() if place.topic == self.topic}

    def progress(self, partition: int = 0) -> Progress | None:
        """What the group's commit says of the messages above its offset."""
        consumer = GroupConsumer(self.client.settings, self.app)
        try:
            (found,) = consumer.committed([TopicPartition(self.topic, partition)], 10).values()
        finally:
            consumer.close()
        return None if found is None else decode(found.metadata, found.offset)

    def handled_through(self) -> dict[int, int]:
        """One past the highest handled offset of each partition."""
        found: dict[int, int] = {}
        for call in self.calls():
            if call.is_end:
                found[call.partition] = max(call.offset + 1, found.get(call.partition, 0))
        return found

    def owners(self) -> dict[int, int]:
        """The process that had the last call of each partition."""
        return {call.partition: call.pid for call in self.calls()}

    def wait_shared(self, *trees: Tree, partitions: int = 6) -> dict[int, int]:
        """Wait until the worker processes of these trees work on equal shares; who works on which partition."""

        def is_shared() -> bool:
            pids = [pid for tree in trees for pid in tree.workers()]
            owners = self.owners()
            return len(owners) == partitions and Counter(owners.values()) == dict.fromkeys(
                pids, partitions // len(pids)
            )

        for tree in trees:
            tree.wait_ready()
        until(is_shared, "all processes work on equal shares")
        return self.owners()

    def end(self) -> None:
        for tree in self.trees:
            tree.end()
        self.client.stop(5)


@contextlib.contextmanager
def stage(brokers: str, topic: str, folder: Path, **settings: Any) -> Iterator[Stage]:
    """A Stage whose processes are gone afterwards."""
    made = Stage(brokers, topic, folder, **settings)
    try:
        yield made
    finally:
        for tree in made.trees:
            # pytest shows it for tests that failed
            print(f"--- {tree.log_path.name}\n{tree.log[-20000:]}")
        made.end()
