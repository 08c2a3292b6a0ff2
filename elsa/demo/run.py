"""Runs the demo from the broker to the last count; called by `elsa demo`, which shows what a View is told.

One `run` is: a Kafka of its own (or librdkafka's mock cluster where none can be had), two topics, a publisher
thread, a real `elsa worker`, and a standalone handler in this process that follows the results.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from elsa.app import App
from elsa.broker import EmbeddedKafka
from elsa.broker.ports import free_ports
from elsa.clock import SYSTEM
from elsa.demo.dataset import Flight, count_flights, read_flights
from elsa.demo.publisher import Publisher
from elsa.demo.results import FLIGHTS, RESULTS, RESULTS_CONFIG, Aircraft, Board, Standing
from elsa.demo.workers import WorkerCommand
from elsa.errors import ElsaError, JarsUnavailable, JavaMissing
from elsa.kafka.mock import MockCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.broker.jars import Progress

GROUP = "flights"
PARTITIONS = 6

_TURN_SECONDS = 0.5
_LAG_SECONDS = 2.0
_RATE_TURNS = 10
_STOP_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run: flights a second (None: as fast as it goes), worker processes, and when to end by itself."""

    rate: float | None = 2_000.0
    processes: int = 1
    messages: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """What has been started: addresses and processes."""

    bootstrap: str
    is_mock: bool
    metrics_url: str
    worker_pid: int
    worker_log: Path
    flights: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The demo at one moment.

    `per_second` are flights counted, `workers` the same by process, over the last seconds; `lag` are messages
    not committed in all partitions together, None while it is not known.
    """

    seconds: float
    published: int
    confirmed: int
    total: int
    standing: Standing
    per_second: float
    workers: dict[int, float]
    lag: int | None

    @property
    def is_complete(self) -> bool:
        """Whether every flight there is has been published and counted."""
        return self.total == self.confirmed == self.standing.flights


class View(Protocol):
    """Who shows it; called by the thread that runs the demo only, except for the fetch's progress."""

    def fetching(self) -> contextlib.AbstractContextManager[Progress | None]: ...

    def note(self, text: str) -> None: ...

    def started(self, stage: Stage) -> None: ...

    def show(self, snapshot: Snapshot) -> None: ...


def run(plan: Plan, view: View) -> Snapshot:
    """Run until the plan is fulfilled or the caller is interrupted; everything that was started has ended then.

    Raises WorkerError when the worker ends by itself, ProduceError when flights cannot be published, and
    EmbeddedBrokerError when Kafka cannot be run for another reason than missing Java or jars.
    """
    with contextlib.ExitStack() as stack:
        bootstrap, is_mock, folder = stack.enter_context(_kafka(view))
        stack.enter_context(_own_settings(bootstrap, folder, is_mock=is_mock))
        app = App("flights-demo")
        stack.callback(app.stop, _STOP_SECONDS)
        board = Board()
        _follow(app, board)
        _create_topics(app, is_mock=is_mock)
        app.start()
        port = free_ports(1)[0]
        worker = WorkerCommand("elsa.demo.flights:app", processes=plan.processes, metrics_port=port, folder=folder)
        stack.callback(worker.stop)
        worker.start()
        total = min(plan.messages or count_flights(), count_flights())
        view.started(Stage(bootstrap, is_mock, f"http://127.0.0.1:{port}/metrics", worker.pid, worker.log, total))
        return _Performance(
            app=app, board=board, worker=worker, plan=plan, total=total, view=view, is_mock=is_mock
        ).play()


class _Performance:
    """The running demo: owned by the thread that called `run`."""

    def __init__(
        self, *, app: App, board: Board, worker: WorkerCommand, plan: Plan, total: int, view: View, is_mock: bool
    ) -> None:
        self._app = app
        self._board = board
        self._worker = worker
        self._plan = plan
        self._total = total
        self._view = view
        self._started = SYSTEM.monotonic()
        self._lag: int | None = None
        # the mock cluster cannot be asked
        self._lag_due = float("inf") if is_mock else self._started
        self._past: deque[tuple[float, Standing]] = deque(maxlen=_RATE_TURNS)
        self._published = threading.Event()
        self._publisher = Publisher(
            itertools.islice(read_flights(), total), self._send, rate=plan.rate, on_end=self._published.set
        )

    def play(self) -> Snapshot:
        turn = threading.Event()
        self._publisher.start()
        try:
            while True:
                snapshot = self._look()
                self._view.show(snapshot)
                self._worker.check()
                if self._publisher.error is not None:
                    raise self._publisher.error
                if self._is_over(snapshot):
                    return snapshot
                turn.wait(_TURN_SECONDS)
        finally:
            self._publisher.stop(_STOP_SECONDS)

    def _send(self, flight: Flight) -> Any:
        return self._app.send(FLIGHTS, flight, key=flight.key)

    def _is_over(self, snapshot: Snapshot) -> bool:
        if self._plan.seconds is not None and snapshot.seconds >= self._plan.seconds:
            return True
        return self._plan.messages is not None and snapshot.is_complete

    def _look(self) -> Snapshot:
        now = SYSTEM.monotonic()
        standing = self._board.standing()
        then, before = self._past[0] if self._past else (self._started, standing)
        self._past.append((now, standing))
        passed = max(now - then, 1e-9)
        rates = {pid: (count - before.workers.get(pid, 0)) / passed for pid, count in standing.workers.items()}
        return Snapshot(
            seconds=now - self._started,
            published=self._publisher.sent,
            confirmed=self._publisher.confirmed,
            total=self._total,
            standing=standing,
            per_second=(standing.flights - before.flights) / passed,
            workers=rates,
            lag=self._ask_lag(now),
        )

    def _ask_lag(self, now: float) -> int | None:
        if now >= self._lag_due:
            self._lag_due = now + _LAG_SECONDS
            # a moment without an answer is no reason to end the show
            with contextlib.suppress(ElsaError):
                self._lag = sum(part.lag for part in self._app.groups.lag(GROUP))
        return self._lag


def _create_topics(app: App, *, is_mock: bool) -> None:
    if is_mock:
        # it has no admin API, and makes a topic when one is first asked for
        for topic in (FLIGHTS, RESULTS):
            app.producer.warm_up(topic)
        return
    app.topics.create(FLIGHTS, partitions=PARTITIONS)
    app.topics.create(RESULTS, partitions=PARTITIONS, config=RESULTS_CONFIG)


def _follow(app: App, board: Board) -> None:
    @app.handler(RESULTS, group=None, start="earliest", name="board")
    def _(aircraft: Aircraft) -> None:
        board.add(aircraft)


@contextlib.contextmanager
def _kafka(view: View) -> Iterator[tuple[str, bool, Path]]:
    """A Kafka for this run: its address, whether it is the mock cluster, and a folder that goes with it."""
    with contextlib.ExitStack() as stack:
        try:
            with view.fetching() as on_progress:
                kafka = stack.enter_context(EmbeddedKafka(ephemeral=True, on_progress=on_progress))
            found = (kafka.bootstrap, False, kafka.root)
        except (JavaMissing, JarsUnavailable) as error:
            view.note(f"{error}\nNo real Kafka can be had: going on with librdkafka's mock cluster, in memory.")
            mock = stack.enter_context(MockCluster())
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="elsa-demo-"))
            found = (mock.bootstrap, True, Path(folder))
        yield found


@contextlib.contextmanager
def _own_settings(bootstrap: str, folder: Path, *, is_mock: bool) -> Iterator[None]:
    """Keep the user's own `ELSA_*` variables and files out of the demo, here and in the worker."""
    saved = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("ELSA_")}
    mine = {
        "ELSA_BROKERS": bootstrap,
        "ELSA_RUNTIME_DIR": str(folder / "run"),
        "ELSA_CREATE_TOPICS": "false" if is_mock else "true",
    }
    os.environ.update(mine)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        for name in mine:
            os.environ.pop(name, None)
        os.environ.update(saved)
