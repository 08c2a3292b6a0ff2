"""One run: brokers, workers, the stream and what goes wrong; returns its Report. Called by __main__ and by the test."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import elsa
from elsa import headers
from elsa.delays.topics import undeliverable_topic
from elsa.errors import UnknownTopic
from elsa.names import dead_letter_topic
from tests.stress import account, journal, offsets
from tests.stress.account import Evidence, Line, Trouble
from tests.stress.cluster import NODES, Cluster
from tests.stress.fleet import Fleet
from tests.stress.kinds import KINDS, PARTITIONS
from tests.stress.proxy import Wire
from tests.stress.schedule import FAULTS, Fault, plan
from tests.stress.stream import Stream
from tests.stress.traces import traces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: the stream has ended and nothing is broken: without progress for so long, what is left is lost
PATIENCE_SECONDS = 90.0
GROUP = "stress"


@dataclass(frozen=True, slots=True)
class Options:
    """What to run: `seconds` of stream, `per_second` messages of each kind, `session` timeout in seconds."""

    seed: int
    seconds: float = 600.0
    per_second: float = 40.0
    workers: int = 2
    session: float = 6.0
    faults: Sequence[str] = tuple(FAULTS)


@dataclass(slots=True)
class Report:
    """The outcome of a run; `complaints` is empty when every promise was kept."""

    seed: int
    seconds: float
    lines: list[Line]
    faults: dict[str, int]
    #: how many workers were away longer than their session, how many of them never heard of it
    zombies: int = 0
    unfenced: int = 0
    #: how many commits were read, how many of them went back
    commits: int = 0
    backward: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    errors: list[str] = field(default_factory=list)
    #: why the mover took delayed messages for undeliverable
    buried: list[str] = field(default_factory=list)
    #: where lost messages were seen last
    traces: list[str] = field(default_factory=list)

    @property
    def complaints(self) -> list[str]:
        """What breaks a promise."""
        found = [text for line in self.lines for text in line.complaints]
        if self.unfenced:
            found.append(f"{self.unfenced} of {self.zombies} zombies were never told that they are")
        if self.backward:
            found.append(f"{len(self.backward)} commits went back: {'; '.join(self.backward[:5])}")
        if self.buried:
            found.append(f"{len(self.buried)} delayed messages were taken for undeliverable: {self.buried[0]}")
        if died := self.notes.get("died"):
            found.append(f"{died} worker processes died by themselves")
        if badly := self.notes.get("stopped badly"):
            found.append(f"{badly} workers did not stop in order")
        return found + self.errors

    def as_json(self) -> str:
        """Everything, for programs."""
        facts: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        facts |= {"lines": [line.as_json() for line in self.lines], "complaints": self.complaints}
        return json.dumps(facts, indent=1)


class Run:
    """Everything of one run; `execute` does it once."""

    def __init__(self, options: Options, folder: Path, say: Callable[[str], None]) -> None:
        self._options = options
        self._folder = folder
        self._say = say
        self._errors: list[str] = []
        self._done: Counter[str] = Counter()
        #: the embedded Kafka is for one thread at a time
        self._broker_lock = threading.Lock()

    def execute(self) -> Report:
        """Run, and account for it."""
        options = self._options
        faults = plan(
            options.seed,
            options.seconds,
            faults=options.faults,
            workers=options.workers,
            session=options.session,
            kinds=len(KINDS),
            brokers=NODES,
        )
        with Wire() as wire, Cluster(wire, self._folder / "kafka") as cluster:
            self._cluster, self._wire = cluster, wire
            self._client = elsa.App("stress-account", brokers=cluster.bootstrap)
            self._create_topics()
            with Fleet(cluster.bootstrap, cluster.proxied, self._folder, session=options.session) as fleet:
                self._fleet = fleet
                fleet.scale(options.workers)
                for worker in fleet.workers[: options.workers]:
                    worker.wait_ready()
                with Stream(cluster.bootstrap, KINDS, per_second=options.per_second) as stream:
                    self._stream = stream
                    self._break_things(faults)
                    stream.stop()
                    self._say(f"{self._clock()}  the stream has ended: {stream.produced} messages")
                    self._drain()
                    fleet.scale(0)
            report = self._report()
            self._client.stop()
            return report

    def _create_topics(self) -> None:
        for kind in KINDS:
            self._client.topics.create(kind.topic, partitions=PARTITIONS)
            if kind.has_output:
                self._client.topics.create(kind.output, partitions=1)

    # -- what goes wrong -----------------------------------------------------------------------------

    def _break_things(self, faults: Sequence[Fault]) -> None:
        with ThreadPoolExecutor(16, "stress-fault") as pool:
            for fault in faults:
                self._sleep_until(fault.at)
                self._say(f"{self._clock()}  {_told(fault)}")
                pool.submit(self._do, fault)
                self._done[fault.what] += 1
            self._sleep_until(self._options.seconds)

    def _do(self, fault: Fault) -> None:
        try:
            self._act(fault)
        except Exception as error:  # a fault that can't be brought about must not end the run, and must be told
            self._errors.append(f"{_told(fault)} failed: {error!r}")
            self._say(self._errors[-1])

    def _act(self, fault: Fault) -> None:
        fleet, what, target, value = self._fleet, fault.what, fault.target, fault.value
        if what == "kill":
            fleet.kill(target)
        elif what == "kill-host":
            fleet.kill_host(target, value)
        elif what == "term":
            fleet.term(target, value)
        elif what == "roll":
            fleet.roll(target)
        elif what == "freeze":
            fleet.freeze(target, value)
        elif what == "cut":
            self._cut(value)
        elif what == "scale":
            fleet.scale(int(value))
        elif what == "grow":
            self._stream.grow(target, int(value))
        elif what == "burst":
            self._stream.burst(target, int(value))
        else:
            self._take_broker_away(what, target, value)

    def _cut(self, seconds: float) -> None:
        begins = time.monotonic()
        self._wire.cut()
        time.sleep(seconds)
        self._wire.mend()
        self._fleet.note(Trouble("cut", begins, time.monotonic(), 0))

    def _take_broker_away(self, what: str, number: int, seconds: float) -> None:
        with self._broker_lock:
            begins = time.monotonic()
            take = self._cluster.kill_node if what == "broker-kill" else self._cluster.stop_node
            try:
                take(number)
                time.sleep(seconds)
                self._cluster.start_node(number)
            finally:
                self._fleet.note(Trouble(what, begins, time.monotonic()))

    # -- the account ---------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Wait until something has become of every message, or nothing happens any more."""
        left, since = -1, time.monotonic()
        while time.monotonic() - since < PATIENCE_SECONDS:
            now_left = sum(account.unfinished(found) for found in self._evidence())
            if now_left == 0:
                return
            if now_left != left:
                left, since = now_left, time.monotonic()
                self._say(f"{self._clock()}  {left} messages are left")
            time.sleep(2.0)

    def _evidence(self) -> list[Evidence]:
        records = journal.read(self._folder)
        found = []
        for number, numbers in enumerate(self._stream.numbers):
            kind = numbers.kind
            handled = [r for r in records if r.kind == number and r.what == journal.DONE]
            if kind.has_output:
                handled = journal.unpack(b"".join(m.value or b"" for m in self._client.stream(kind.output)))
            letters = self._read(dead_letter_topic(kind.topic, GROUP, GROUP))
            dead = [json.loads(letter.value or b"")["number"] for letter in letters]
            found.append(
                Evidence(numbers.confirmed, numbers.rejects, handled, dead, self._stream.began, self._stream.ended)
            )
        return found

    def _read(self, topic: str) -> list[elsa.Message]:
        try:
            return list(self._client.stream(topic))
        except UnknownTopic:
            return []

    def _report(self) -> Report:
        troubles = self._fleet.troubles
        records = journal.read(self._folder)
        reasons = [*troubles, *account.expelled(records)]
        commits = [
            commit
            for message in self._read(offsets.TOPIC)
            if message.key is not None and (commit := offsets.parse(message.key, message.value)) is not None
        ]
        commits = [commit for commit in commits if commit.group == GROUP]
        return Report(
            seed=self._options.seed,
            seconds=self._options.seconds,
            lines=[
                account.settle(numbers.kind, found, reasons)
                for numbers, found in zip(self._stream.numbers, self._evidence(), strict=True)
            ],
            faults=dict(self._done),
            zombies=len(account.zombies(troubles)),
            unfenced=len(account.unfenced(records, troubles)),
            commits=len(commits),
            backward=[
                f"{now.topic}[{now.partition}] from {before.offset} to {now.offset} at {now.at}"
                for before, now in offsets.backward(commits)
            ],
            notes=self._fleet.notes(),
            refused=sum(len(numbers.refused) for numbers in self._stream.numbers),
            errors=self._errors,
            buried=[
                headers.text(letter.headers, headers.ERROR_MESSAGE) or "without a reason"
                for letter in self._read(undeliverable_topic(GROUP))
            ],
            traces=self._traces(),
        )

    def _traces(self) -> list[str]:
        """What is still known of messages that were lost."""
        found = []
        for numbers, evidence in zip(self._stream.numbers, self._evidence(), strict=True):
            if lost := account.settle(numbers.kind, evidence).examples["lost"]:
                groups = (GROUP, f"{GROUP}.mover")
                found += traces(self._cluster.bootstrap, numbers.kind.topic, lost, groups)
        return found

    def _clock(self) -> str:
        return f"{time.monotonic() - self._stream.began:7.1f} s"

    def _sleep_until(self, at: float) -> None:
        time.sleep(max(0.0, self._stream.began + at - time.monotonic()))


def _told(fault: Fault) -> str:
    """A fault in words."""
    at = {"scale": f"to {fault.value:g} workers", "grow": f"kind {fault.target} by {fault.value:g} partitions"}.get(
        fault.what, ""
    )
    if not at:
        whom = "kind" if fault.what == "burst" else "broker" if fault.what.startswith("broker") else "worker"
        amount = f" of {fault.value:g}" if fault.what == "burst" else f" for {fault.value:.1f} s" if fault.value else ""
        at = f"{whom} {fault.target}{amount}"
    return f"{fault.what} {at}"
