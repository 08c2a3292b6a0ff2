"""Stand-ins around a PartitionWorker: messages, an executor that runs when told to, a settlement that keeps things."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM
from elsa.message import TopicPartition
from elsa.observer import HandlerObserver
from elsa.worker.delivery import drive
from elsa.worker.equipment import Equipment, Inheritance
from elsa.worker.kept import Kept
from elsa.worker.mailbox import Crashed, Ended, Finished, Held, Park
from elsa.worker.pace import Paces
from elsa.worker.partition import PartitionWorker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import elsa
    from elsa.clock import Clock
    from elsa.context import Context
    from elsa.outcome import Outcome
    from elsa.worker.assigned import Assigned
    from elsa.worker.turns import Turn


class Raw:
    """A message with the accessors that the engine uses."""

    def __init__(
        self, offset: int, value: bytes | None = b"{}", *, topic: str = "t", partition: int = 0, **fields: Any
    ) -> None:
        self._offset = offset
        self._value = value
        self._topic = topic
        self._partition = partition
        self._fields = fields

    def __len__(self) -> int:
        return len(self._value or b"")

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes | None:
        return self._value

    def key(self) -> Any:
        return self._fields.get("key")

    def headers(self) -> Any:
        return self._fields.get("headers")

    def timestamp(self) -> tuple[int, int]:
        return (1, self._fields["timestamp"]) if "timestamp" in self._fields else (0, 0)

    def leader_epoch(self) -> int | None:
        return None

    def error(self) -> None:
        return None


class Taker:
    """In place of a PartitionWorker: takes what it is given."""

    parked = 0
    underway = SimpleNamespace(turns={1, 2})

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.kept = Kept(Inheritance())

    def put(self, raws: Any) -> None:
        self.offsets += [raw.offset() for raw in raws]


def receive(assigned: Assigned, raw: Any, *offsets: int) -> None:
    raws = [raw(offset, b"1234567890") for offset in offsets]
    assigned.receive(raws, sum(map(len, raws)))


class Place:
    """An executor: who was submitted stands in `waiting` until `Around.run` takes it."""

    def __init__(self, limit: int = 8) -> None:
        self.limit = limit
        self.waiting: dict[PartitionWorker, None] = {}

    @property
    def is_wanted(self) -> bool:
        return bool(self.waiting)

    def submit(self, worker: PartitionWorker) -> None:
        self.waiting[worker] = None

    def stop(self, timeout: float) -> bool:
        return True


class Worker(PartitionWorker):
    """Writes down every outcome."""

    def __init__(self, *args: Any, outcomes: list[tuple[int, Outcome]], **fields: Any) -> None:
        self._outcomes = outcomes
        super().__init__(*args, **fields)

    def conclude(self, turn: Turn, raw: Any, context: Context, outcome: Outcome) -> None:
        self._outcomes.append((raw.offset(), outcome))
        super().conclude(turn, raw, context, outcome)


class Around:
    """Everything around one worker; `mail` is what the group manager would have got."""

    def __init__(self, *, clock: Clock = SYSTEM) -> None:
        self.clock = clock
        self.mail: list[Any] = []
        self.place = Place()
        self.places: dict[str, Place] = {}
        self.copies: list[tuple[Any, Outcome, Any]] = []
        self.sends: list[tuple[Any, Context, Any, Any]] = []
        self.hurried: list[PartitionWorker] = []
        self.outcomes: list[tuple[int, Outcome]] = []

    # -- as executors

    def of(self, handler: Any) -> Place:
        return self.places.get(handler.name, self.place)

    # -- as settlement

    def dead_letter(self, _: Any, raw: Any, outcome: Outcome, settled: Any) -> None:
        self.copies.append((raw, outcome, settled))

    def confirm_sends(self, raw: Any, context: Context, settled: Any, failed: Any) -> None:
        self.sends.append((raw, context, settled, failed))

    def hurry(self, worker: PartitionWorker) -> None:
        self.hurried.append(worker)

    # -- the worker

    def make(
        self,
        app: elsa.App,
        observer: HandlerObserver | None = None,
        task_observers: Mapping[str, HandlerObserver] | None = None,
        **inherited: Any,
    ) -> Worker:
        return Worker(
            TopicPartition("t", 0),
            app.registry.bindings()[0],
            Equipment(
                app=app,
                executors=self,  # type: ignore[arg-type]  # a stand-in
                settlement=self,  # type: ignore[arg-type]  # a stand-in
                post=self.mail.append,
                clock=self.clock,
                paces=Paces(self.clock),
            ),
            epoch=1,
            generation=3,
            observer=observer or HandlerObserver(),
            task_observers=task_observers,
            inherited=Inheritance(**inherited),
            outcomes=self.outcomes,
        )

    def run(self, worker: PartitionWorker, place: Place | None = None, *, turns: int = 100) -> int:
        """Run what was submitted, at most so many turns; how many there were."""
        place = place or self.place
        ran = 0
        while place.waiting and ran < turns:
            place.waiting.pop(worker)
            turn = worker.begin(place)
            if turn is None:
                continue
            ran += 1
            self.play(worker, turn)
        return ran

    def play(self, worker: PartitionWorker, turn: Turn) -> None:
        """Run one turn to its end, as an executor does."""
        try:
            if worker.binding.first.is_async:
                asyncio.run(worker.run(turn))
            else:
                drive(worker.run(turn))
        except BaseException as error:
            worker.crashed(error, turn)
        if worker.settle(turn):
            turn.executor.submit(worker)

    # -- what came of it

    def _offsets(self, kind: type[Any]) -> list[int]:
        return [offset for mail in self.mail if type(mail) is kind for offset in mail.offsets]

    @property
    def done(self) -> list[int]:
        return self._offsets(Finished)

    @property
    def held(self) -> list[int]:
        return self._offsets(Held)

    @property
    def kinds(self) -> list[tuple[int, str]]:
        return [(offset, outcome.kind.value) for offset, outcome in self.outcomes]

    @property
    def dues(self) -> list[float]:
        return [mail.due for mail in self.mail if type(mail) is Park]

    @property
    def crashes(self) -> list[Crashed]:
        return [mail for mail in self.mail if type(mail) is Crashed]

    @property
    def has_ended(self) -> bool:
        return any(type(mail) is Ended for mail in self.mail)


def offsets(raws: Iterable[Any]) -> list[int]:
    """What the messages of a slice are called."""
    return [raw.offset() for raw in raws]
