"""One partition of one handler: its lane, and what becomes of it at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.clock import SYSTEM
from elsa.message import TopicPartition
from elsa.observer import HandlerObserver
from elsa.worker.mailbox import Ended
from elsa.worker.partition import PartitionWorker

if TYPE_CHECKING:
    from collections.abc import Iterator


class Around:
    """Executors that run nothing, a settlement that keeps what it is given, a mailbox."""

    def __init__(self) -> None:
        self.mail: list[Any] = []
        self.submitted: list[PartitionWorker] = []
        self.copies: list[Any] = []
        self.hurried: list[PartitionWorker] = []

    def of(self, _: Any) -> Around:
        return self

    def submit(self, worker: PartitionWorker) -> None:
        self.submitted.append(worker)

    def dead_letter(self, _: Any, raw: Any, __: Any, settled: Any) -> None:
        self.copies.append((raw, settled))

    def hurry(self, worker: PartitionWorker) -> None:
        self.hurried.append(worker)


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-partition")
    yield app
    app.stop()


@pytest.fixture
def around() -> Around:
    return Around()


def make(app: elsa.App, around: Around) -> PartitionWorker:
    return PartitionWorker(
        TopicPartition("t", 0),
        app.registry.bindings()[0],
        app=app,
        epoch=1,
        generation=1,
        executors=around,  # type: ignore[arg-type]  # a stand-in
        settlement=around,  # type: ignore[arg-type]  # a stand-in
        observer=HandlerObserver(),
        post=around.mail.append,
        clock=SYSTEM,
    )


def run_slice(worker: PartitionWorker) -> bool:
    """What an executor does with a lane, in this thread."""
    step = worker.lifecycle()
    if step is not None:
        step()
    raws = worker.take()
    return worker.settle(worker.run(raws) if raws else None)


def test_a_lane_that_ends_hurries_the_copies_it_waits_for(app: elsa.App, around: Around, raw: Any) -> None:
    @app.handler("t", retry=None)
    def handle(body: bytes) -> None:
        raise ValueError

    worker = make(app, around)
    worker.put([raw(0)])
    run_slice(worker)
    worker.close()
    assert around.hurried == [worker]
    assert not any(isinstance(mail, Ended) for mail in around.mail)

    worker.give_up_settling()
    assert isinstance(around.mail[-1], Ended)


def test_a_lane_that_waits_for_no_copy_hurries_nothing(app: elsa.App, around: Around, raw: Any) -> None:
    @app.handler("t")
    def handle(body: bytes) -> None:
        """It is fine."""

    worker = make(app, around)
    worker.put([raw(0)])
    run_slice(worker)
    worker.close()

    assert around.hurried == []
    assert isinstance(around.mail[-1], Ended)
