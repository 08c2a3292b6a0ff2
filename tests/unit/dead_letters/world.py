"""A dead-letter topic, its ledger and a producer in memory, which can fail at any step; used by the tests of runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elsa.dead_letters import marks as records
from elsa.dead_letters.copies import Edit
from elsa.dead_letters.destinations import Destination
from elsa.dead_letters.filters import Filter
from elsa.dead_letters.marks import Marks
from elsa.dead_letters.run import Result, Run
from elsa.dead_letters.scan import Scan
from elsa.errors import TransactionAborted, TransactionFenced
from elsa.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from elsa.dead_letters.letter import DeadLetter
    from elsa.errors import ElsaError

TOPIC, LEDGER, RETRY = "orders.billing.dlq", "orders.billing.dlq-handled", "orders.billing.retry"


class Killed(BaseException):
    """The program ends here."""


def letter(partition: int, offset: int, handler: str = "bill", **headers: str) -> Message:
    pairs = {"elsa-handler": handler, "elsa-origin": f"orders:{partition}:{offset}", **headers}
    encoded = tuple((name.replace("_", "-"), value.encode()) for name, value in pairs.items())
    return Message(TOPIC, partition, offset, b"k", f"{partition}:{offset}".encode(), encoded, 1000.0 + offset, "create")


@dataclass
class World:
    """What the brokers have. `copies` are the values of what was replayed, in the order of the commits."""

    log: dict[int, list[Message]] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    lows: dict[int, int] = field(default_factory=dict)
    topic_id: str = "id+/1"
    ledger: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    copies: list[tuple[str, int | None, bytes | None]] = field(default_factory=list)
    #: steps that succeed before one fails, and how that one fails
    steps: int | None = None
    failure: BaseException = field(default_factory=Killed)
    #: whether a commit that fails has been carried out all the same
    commits_anyway: bool = False
    owner: Any = None
    read_from: list[dict[int, int]] = field(default_factory=list)

    def add(self, partition: int, offset: int, handler: str = "bill", **headers: str) -> None:
        self.log.setdefault(partition, []).append(letter(partition, offset, handler, **headers))
        self.ends[partition] = max(self.ends.get(partition, 0), offset + 1)
        self.lows.setdefault(partition, 0)

    def stream(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> Iterator[Message]:
        self.read_from.append(dict(starts))
        for partition in sorted(starts):
            for message in self.log.get(partition, []):
                if max(starts[partition], self.lows[partition]) <= message.offset < ends[partition]:
                    yield message

    def step(self) -> bool:
        """Whether this step fails."""
        if self.steps is None:
            return False
        self.steps -= 1
        return self.steps < 0

    def marks(self) -> dict[int, Marks]:
        found = records.read(self.topic_id, self.ledger)
        return {partition: found.get(partition, Marks()).until(end) for partition, end in self.ends.items()}

    def handled(self) -> set[bytes]:
        marks = self.marks()
        every = (message for messages in self.log.values() for message in messages)
        return {message.value or b"" for message in every if marks[message.partition].has(message.offset)}

    def scan(self, wanted: Filter, *, stop: threading.Event | None = None, **options: Any) -> Scan:
        given = {"lows": dict(self.lows), "ends": dict(self.ends), "marks": self.marks(), **options}
        return Scan(self.stream, wanted, topic=TOPIC, stop=stop or threading.Event(), **given)

    def run(
        self,
        wanted: Filter | None = None,
        *,
        destination: Callable[[DeadLetter], Destination] | None = lambda one: Destination(RETRY, one.partition),
        is_dry: bool = False,
        again: bool = False,
        **options: Any,
    ) -> Result:
        """One replay by somebody new (a drop with `destination=None`)."""
        stop = options.get("stop") or threading.Event()
        producer = None if is_dry else Producer(self)
        defaults: dict[str, Any] = {
            "edit": Edit(),
            "ledger": LEDGER,
            "topic_id": self.topic_id,
            "marks": self.marks(),
            "limit": None,
            "rate": None,
            "stop": stop,
            "progress": lambda _: None,
            "clock": Clock(),
        }
        scan = self.scan(wanted or Filter(), stop=stop, again=again)
        options = {**defaults, "read_marks": self.marks, **options}
        return Run(scan, destination=destination, producer=producer, **options)()  # type: ignore[arg-type]  # duck-typed


class Clock:
    """Time that passes when somebody waits on its `stop`."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Producer:
    """A transactional producer on a World; the newest one owns the transactional id."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._staged: list[tuple[str, int | None, bytes | None, bytes | None]] = []
        self.refuses: dict[str, ElsaError] = {}
        self._refused: list[tuple[ElsaError, Any]] = []
        #: it has met a refused message
        self._is_spoiled = False
        self.init(0.0)

    def init(self, timeout: float) -> None:
        self._staged.clear()
        self._is_spoiled = False
        self._world.owner = self

    def _step(self) -> None:
        if self._world.owner is not self:
            raise TransactionFenced("somebody else has it", code="_FENCED")
        if self._world.step():
            raise self._world.failure

    def begin(self) -> None:
        self._step()
        assert not self._is_spoiled
        self._staged.clear()
        self._refused.clear()

    def produce(self, topic: str, value: bytes | None, **options: Any) -> None:
        self._step()
        mark = options.get("mark")
        if mark in self.refuses:
            self._refused.append((self.refuses[mark], mark))
            self._is_spoiled = True
        self._staged.append((topic, options.get("partition"), options.get("key"), value))

    def commit(self, timeout: float) -> None:
        if self._refused:
            raise TransactionAborted("a message was refused", code="MSG_SIZE_TOO_LARGE")
        try:
            self._step()
        except BaseException:
            if self._world.commits_anyway and self._world.owner is self:
                self._apply()
            raise
        self._apply()

    def _apply(self) -> None:
        for topic, partition, key, value in self._staged:
            if topic == LEDGER:
                self._world.ledger.append((key or b"", value))
            else:
                self._world.copies.append((topic, partition, value))
        self._staged.clear()

    def abort(self, timeout: float) -> None:
        self._staged.clear()

    def recover(self, timeout: float, forgiven: tuple[type[Exception], ...]) -> bool:
        is_spoiled = bool(self._refused)
        self.abort(timeout)
        if is_spoiled:
            self.close()
        return not is_spoiled

    def failures(self) -> list[tuple[ElsaError, Any]]:
        return list(self._refused)

    def close(self) -> None:
        self._staged.clear()
