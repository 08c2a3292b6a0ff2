"""What every executor promises: a lane runs until it is done, once at a time, and broken code ends no thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from elsa.worker.executors.loop import EventLoop, LoopExecutor
from elsa.worker.executors.threads import ThreadExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Lane:
    """The part of a PartitionWorker that executors see."""

    def __init__(self, slices: list[list[int]], work: Callable[[list[int]], Any] | None = None) -> None:
        self.slices = slices
        self.ran: list[int] = []
        self.errors: list[BaseException] = []
        self.steps: list[str] = []
        self.done = threading.Event()
        self.cancel_running: Callable[[], None] | None = None
        self.work = work or (lambda raws: None)
        self.at_once = 0
        self.most_at_once = 0
        self.setup_error: BaseException | None = None

    def lifecycle(self) -> Callable[[], Any] | None:
        if self.steps:
            return None
        self.steps.append("setup")
        return self._setup

    def _setup(self) -> None:
        if self.setup_error is not None:
            raise self.setup_error

    def take(self) -> list[int]:
        return self.slices.pop(0) if self.slices else []

    def _enter(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)

    def run(self, raws: list[int]) -> object:
        self._enter()
        self.work(raws)
        self.ran += raws
        self.at_once -= 1
        return object()

    async def run_async(self, raws: list[int]) -> object:
        return self.run(raws)

    def crashed(self, error: BaseException) -> None:
        self.errors.append(error)

    def settle(self, result: object | None) -> bool:
        more = result is not None and bool(self.slices)
        if not more:
            self.done.set()
        return more


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


def test_a_lane_runs_all_its_slices_in_order(executor: Any) -> None:
    lane = Lane([[1, 2], [3], [4, 5]])
    executor.submit(lane)

    assert lane.done.wait(5)
    assert lane.ran == [1, 2, 3, 4, 5]
    assert lane.most_at_once == 1
    assert lane.steps == ["setup"]


def test_more_lanes_than_places_all_run(executor: Any) -> None:
    lanes = [Lane([[i], [i]]) for i in range(20)]
    for lane in lanes:
        executor.submit(lane)

    assert all(lane.done.wait(5) for lane in lanes)
    assert [lane.ran for lane in lanes] == [[i, i] for i in range(20)]


def test_a_setup_that_raises_is_told_to_the_lane_and_ends_no_thread(executor: Any) -> None:
    broken, fine = Lane([[1]]), Lane([[2]])
    broken.setup_error = SystemExit(3)
    executor.submit(broken)
    assert broken.done.wait(5)
    executor.submit(fine)

    assert fine.done.wait(5)
    assert broken.ran == []
    assert [type(error) for error in broken.errors] == [SystemExit]


class BrokenLane(Lane):
    """Cannot take over what a slice came to."""

    def settle(self, result: object | None) -> bool:
        if result is not None:
            raise RuntimeError("no result, please")
        return super().settle(result)


def test_a_result_that_cannot_be_settled_ends_no_thread_and_holds_no_lane(executor: Any) -> None:
    broken = [BrokenLane([[i]]) for i in range(8)]
    for lane in broken:
        executor.submit(lane)

    assert all(lane.done.wait(5) for lane in broken)
    assert [type(error) for lane in broken for error in lane.errors] == [RuntimeError] * 8


def test_blocking_threads_do_not_hold_other_lanes_back() -> None:
    pool = ThreadExecutor("blocking", 3)
    gate = threading.Event()
    blocked = [Lane([[i]], lambda raws: gate.wait(5)) for i in range(2)]
    free = Lane([[9]])
    for lane in [*blocked, free]:
        pool.submit(lane)  # type: ignore[arg-type]  # a stand-in

    assert free.done.wait(5)
    assert not blocked[0].done.is_set()
    gate.set()
    assert all(lane.done.wait(5) for lane in blocked)
    assert pool.stop(5)


@pytest.mark.parametrize("pause", [0, 0.0005, 0.001, 0.003])
def test_every_lane_finds_a_thread_however_the_submits_are_spaced(pause: float) -> None:
    """A thread that took one lane may not leave the others to nobody."""
    pool = ThreadExecutor("spaced", 4)
    gate = threading.Event()
    entered = [threading.Event() for _ in range(4)]

    def work(raws: list[int]) -> None:
        entered[raws[0]].set()
        gate.wait(5)

    for lane in [Lane([[i]], work) for i in range(4)]:
        pool.submit(lane)  # type: ignore[arg-type]  # a stand-in
        time.sleep(pause)

    assert all(event.wait(2) for event in entered)
    gate.set()
    assert pool.stop(5)


def test_a_pool_that_still_runs_says_so_when_it_is_stopped() -> None:
    pool = ThreadExecutor("stuck", 1)
    gate, entered = threading.Event(), threading.Event()

    def work(raws: list[int]) -> None:
        entered.set()
        gate.wait(5)

    lane = Lane([[1]], work)
    pool.submit(lane)  # type: ignore[arg-type]  # a stand-in
    assert entered.wait(5)

    assert pool.stop(0) is False
    gate.set()
    assert pool.stop(5) is True
