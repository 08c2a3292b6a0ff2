"""What every executor promises: all of a worker's turns run, as many at once as places; broken code ends no thread."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from elsa.worker.executors import threads
from elsa.worker.executors.loop import EventLoop, LoopExecutor
from elsa.worker.executors.threads import ThreadExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Turn:
    """As much of a turn as executors see."""

    cancel: Any = None
    coroutine: Any = None

    def __init__(self, worker: Worker, number: int) -> None:
        self.worker = worker
        self.number = number
        self.durations: list[float] = []
        self.since = time.perf_counter()


class Worker:
    """The part of a PartitionWorker that executors see: so many calls to make, `width` of them at once."""

    def __init__(
        self, calls: int, work: Callable[[int], Any] | None = None, *, width: int = 1, topic: str = "t"
    ) -> None:
        self.binding = SimpleNamespace(topic=topic)
        self.left = list(range(calls))
        self.width = width
        self.work = work or (lambda number: None)
        self.ran: list[int] = []
        self.errors: list[BaseException] = []
        self.done = threading.Event()
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()
        self._running = 0

    def begin(self, executor: Any) -> Turn | None:
        with self._lock:
            if not self.left or self._running >= self.width:
                return None
            self._running += 1
            return Turn(self, self.left.pop(0))

    def is_ready(self, executor: Any) -> bool:
        with self._lock:
            return bool(self.left) and self._running < self.width

    async def run(self, turn: Turn) -> None:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        began = time.perf_counter()
        try:
            result = self.work(turn.number)
            if asyncio.iscoroutine(result):
                await result
        finally:
            turn.durations.append(time.perf_counter() - began)
            with self._lock:
                self.at_once -= 1
        self.ran.append(turn.number)

    def crashed(self, error: BaseException, turn: Turn | None = None) -> None:
        self.errors.append(error)

    def settle(self, turn: Turn) -> bool:
        with self._lock:
            self._running -= 1
            if not self.left and not self._running:
                self.done.set()
            return bool(self.left)


@pytest.fixture(params=["threads", "loop"])
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "threads":
        pool = ThreadExecutor("contract", 4)
        yield pool
        assert pool.stop(5)
    else:
        loop = EventLoop()
        yield LoopExecutor(loop, 4)
        assert loop.stop(5)


def pause(executor: Any, seconds: float) -> Callable[[int], Any]:
    """Work that waits in the executor's own way."""
    if isinstance(executor, LoopExecutor):
        return lambda _: asyncio.sleep(seconds)
    return lambda _: time.sleep(seconds)


def test_one_lane_runs_all_its_turns_in_order(executor: Any) -> None:
    worker = Worker(5)
    executor.submit(worker)

    assert worker.done.wait(60)
    assert worker.ran == [0, 1, 2, 3, 4]
    assert worker.most_at_once == 1


def test_more_workers_than_places_all_run(executor: Any) -> None:
    workers = [Worker(2) for _ in range(20)]
    for worker in workers:
        executor.submit(worker)

    assert all(worker.done.wait(60) for worker in workers)
    assert [worker.ran for worker in workers] == [[0, 1]] * 20


def test_calls_that_wait_get_all_the_places_there_are_and_no_more(executor: Any) -> None:
    worker = Worker(40, pause(executor, 0.02), width=40)
    executor.submit(worker)

    assert worker.done.wait(60)
    assert sorted(worker.ran) == list(range(40))
    assert worker.most_at_once == executor.limit == 4


def test_a_worker_that_is_submitted_again_while_it_runs_is_not_forgotten(executor: Any) -> None:
    worker = Worker(1, pause(executor, 0.02))
    executor.submit(worker)
    for number in range(1, 20):
        with worker._lock:
            worker.done.clear()
            worker.left.append(number)
        executor.submit(worker)
        executor.submit(worker)
        time.sleep(0.001 * (number % 3))

    assert worker.done.wait(60)
    assert worker.ran == list(range(20))


def test_one_busy_worker_does_not_keep_the_places_from_others(executor: Any) -> None:
    busy = Worker(200, pause(executor, 0.005), width=200)
    executor.submit(busy)
    other = Worker(1)
    executor.submit(other)

    assert other.done.wait(60)
    assert len(busy.ran) < 100
    assert busy.done.wait(60)


def test_broken_work_is_told_to_the_worker_and_ends_no_thread(executor: Any) -> None:
    def exit_at_once(_: int) -> None:
        raise SystemExit(3)

    broken, fine = Worker(1, exit_at_once), Worker(1)
    executor.submit(broken)
    assert broken.done.wait(30)
    executor.submit(fine)

    assert fine.done.wait(30)
    assert [type(error) for error in broken.errors] == [SystemExit]


class BrokenWorker(Worker):
    """Cannot take over what a turn came to, the first time."""

    def settle(self, turn: Turn) -> bool:
        if not self.errors:
            raise RuntimeError("no result, please")
        return super().settle(turn)


class NoTurns(Worker):
    """Cannot even begin."""

    def begin(self, executor: Any) -> Turn | None:
        if not self.errors:
            raise RuntimeError("no turn")
        self.done.set()
        return None


@pytest.mark.parametrize("kind", [BrokenWorker, NoTurns])
def test_what_fails_around_a_turn_ends_no_thread(executor: Any, kind: type[Worker]) -> None:
    broken = [kind(1) for _ in range(8)]
    for worker in broken:
        executor.submit(worker)
    fine = Worker(1)
    executor.submit(fine)

    assert fine.done.wait(30)
    if kind is BrokenWorker:
        assert all(worker.done.wait(60) for worker in broken)
    assert [type(error) for worker in broken for error in worker.errors] == [RuntimeError] * 8


@pytest.mark.parametrize("kind", ["threads", "loop"])
def test_topics_have_their_turns_by_weight_and_none_starves(kind: str) -> None:
    loop = EventLoop() if kind == "loop" else None
    weights = {"hi": 3.0, "lo": 1.0}
    executor: Any = LoopExecutor(loop, 1, weights=weights) if loop else ThreadExecutor("w", 1, weights=weights)
    order: list[str] = []
    gate = threading.Event()
    # whoever comes first holds the only place until all wait
    first = Worker(1, lambda _: gate.wait(60) and None)
    executor.submit(first)
    workers = {name: Worker(40, lambda _, name=name: order.append(name), topic=name) for name in ("lo", "hi")}  # type: ignore[misc]  # binds this turn's name
    for worker in workers.values():
        executor.submit(worker)
    gate.set()

    assert all(worker.done.wait(60) for worker in workers.values())
    assert {order[:40].count("hi"), order[:40].count("lo")} == {30, 10}
    assert executor.stop(5)
    assert loop is None or loop.stop(5)


def test_blocking_threads_do_not_hold_other_workers_back() -> None:
    pool = ThreadExecutor("blocking", 3)
    gate = threading.Event()
    blocked = [Worker(1, lambda _: gate.wait(60) and None) for _ in range(2)]
    free = Worker(1)
    for worker in [*blocked, free]:
        pool.submit(worker)  # type: ignore[arg-type]  # a stand-in

    assert free.done.wait(30)
    assert not blocked[0].done.is_set()
    gate.set()
    assert all(worker.done.wait(60) for worker in blocked)
    assert pool.stop(5)


@pytest.mark.parametrize("pause", [0, 0.0005, 0.001, 0.003])
def test_every_worker_finds_a_thread_however_the_submits_are_spaced(pause: float) -> None:
    """A thread that took one may not leave the others to nobody."""
    pool = ThreadExecutor("spaced", 4)
    gate = threading.Event()
    entered = [threading.Event() for _ in range(4)]

    def work(which: int) -> Callable[[int], None]:
        def wait(_: int) -> None:
            entered[which].set()
            gate.wait(60)

        return wait

    for worker in [Worker(1, work(which)) for which in range(4)]:
        pool.submit(worker)  # type: ignore[arg-type]  # a stand-in
        time.sleep(pause)

    assert all(event.wait(30) for event in entered)
    gate.set()
    assert pool.stop(5)


def test_quick_calls_share_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # on a busy machine a thread may stand still for long without being stuck
    monkeypatch.setattr(threads, "_PATIENCE", 60.0)
    pool = ThreadExecutor("quick", 8)
    workers = [Worker(50, width=50) for _ in range(20)]
    for worker in workers:
        pool.submit(worker)  # type: ignore[arg-type]  # a stand-in

    assert all(worker.done.wait(60) for worker in workers)
    # the second is the one that waits whether it is needed
    assert len(pool._threads) <= 2
    assert pool.stop(5)


def test_a_pool_that_still_runs_says_so_when_it_is_stopped() -> None:
    pool = ThreadExecutor("stuck", 1)
    gate, entered = threading.Event(), threading.Event()

    def work(_: int) -> None:
        entered.set()
        gate.wait(60)

    pool.submit(Worker(1, work))  # type: ignore[arg-type]  # a stand-in
    assert entered.wait(30)

    assert pool.stop(0) is False
    gate.set()
    assert pool.stop(5) is True
