"""What needs the broker before a message is finished: copies that are refused, made or waited for."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

import pytest

from elsa.config import Settings
from elsa.errors import UnknownTopic
from elsa.kafka.consumer import to_message
from elsa.observer import HandlerObserver
from elsa.outcome import Kind, Outcome
from elsa.worker.settlement import Settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Confirmed:
    """A Delivery that is done."""

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error

    def exception(self) -> BaseException | None:
        return self._error

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)


class App:
    """Its producer and its topics do what `sends` and `create` say."""

    name = "a"
    settings = Settings(name="a")

    def __init__(self) -> None:
        self.producer = self.topics = self
        self.sends: Callable[[], Any] = Confirmed
        self.sent: list[Any] = []
        self.created = 0

    def send(self, topic: str, value: Any, **options: Any) -> Any:
        self.sent.append((topic, value, options))
        return self.sends()

    def partition_count(self, _: str) -> int:
        return 1

    def describe(self, _: str) -> Any:
        return type("Topic", (), {"config": {}})

    def create(self, *_: Any, **__: Any) -> None:
        self.created += 1


class Worker:
    """The part of a PartitionWorker that copies need."""

    group = "g"
    observer = HandlerObserver()

    def __init__(self, app: App) -> None:
        self.app = app
        self.source = "t"
        self.closed = False
        self.gave_up = threading.Event()
        self.counted: list[str] = []
        self.binding = self
        self.first = self
        self.declared = self
        self.conclusion = self
        self.dead_letter = None

    def name_for(self, raw: Any) -> str:
        return f"h of {raw.offset()}"

    def observer_of(self, handler: str) -> HandlerObserver:
        self.counted.append(handler)
        return self.observer

    def to_message(self, raw: Any) -> Any:
        return to_message(raw)

    def give_up_settling(self) -> None:
        self.gave_up.set()


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def settlement(app: App) -> Iterator[Settlement]:
    made = Settlement(app)  # type: ignore[arg-type]  # a stand-in
    yield made
    made.close()


class Settled:
    """Counts what is settled and lets wait for it."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.done = threading.Event()

    def __call__(self, _: Any) -> None:
        self.count -= 1
        if not self.count:
            self.done.set()


def dead(error: BaseException, reason: str = "exhausted") -> Outcome:
    return Outcome(Kind.DEAD, reason=reason, error=error)


class Mute(Exception):
    """Its text cannot be made."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize("outcome", [dead(Mute()), dead(RuntimeError(), "\ud800")])
def test_what_cannot_be_said_of_an_error_does_not_hold_its_dead_letter(
    settlement: Settlement, app: App, raw: Any, outcome: Outcome
) -> None:
    settled, worker = Settled(), Worker(app)
    settlement.dead_letter(worker, raw(0), outcome, settled)  # type: ignore[arg-type]  # a stand-in

    assert settled.done.is_set()
    assert len(app.sent) == 1
    assert worker.counted == ["h of 0"]


def test_many_refused_copies_wait_on_one_thread(settlement: Settlement, app: App, raw: Any) -> None:
    before = threading.active_count()
    app.sends = lambda: Confirmed(RuntimeError("not now"))
    for offset in range(50):
        settlement.dead_letter(Worker(app), raw(offset), dead(ValueError()), Settled())  # type: ignore[arg-type]  # a stand-in

    assert threading.active_count() <= before + 1


def test_a_missing_topic_is_made_once_whatever_goes_wrong_first(settlement: Settlement, app: App, raw: Any) -> None:
    settled = Settled(20)
    create = app.create
    failures = [RuntimeError("not even an ElsaError")]

    def sends() -> Any:
        if not app.created:
            raise UnknownTopic("no topic")
        return Confirmed()

    def creates(*_: Any, **__: Any) -> None:
        if failures:
            raise failures.pop()
        create()

    app.sends = sends
    app.create = creates  # type: ignore[method-assign]  # the first time it fails
    for offset in range(20):
        settlement.dead_letter(Worker(app), raw(offset), dead(ValueError()), settled)  # type: ignore[arg-type]  # a stand-in

    assert settled.done.wait(20)
    assert app.created == 1


def test_a_worker_that_ends_does_not_wait_for_the_pause_of_a_refused_copy(
    settlement: Settlement, app: App, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elsa.worker.copies.Backoff.next", lambda _: 600.0)
    app.sends = lambda: Confirmed(RuntimeError("not now"))
    worker, other = Worker(app), Worker(app)
    for one in (worker, other):
        settlement.dead_letter(one, raw(0), dead(ValueError()), Settled())  # type: ignore[arg-type]  # a stand-in
    worker.closed = True
    settlement.hurry(worker)  # type: ignore[arg-type]  # a stand-in

    assert worker.gave_up.wait(20)
    assert len(app.sent) == 3


def test_a_refused_send_is_judged_outside_of_its_report(settlement: Settlement, raw: Any) -> None:
    threads: list[threading.Thread] = []
    judged = threading.Event()
    context: Any = type(
        "Context", (), {"sends": [Confirmed(RuntimeError("refused"))], "attempt": 2, "confirmation": None}
    )

    def failed(*_: Any) -> None:
        threads.append(threading.current_thread())
        judged.set()

    settlement.confirm_sends(raw(0), context, Settled(), failed)

    assert judged.wait(20)
    assert threads != [threading.current_thread()]


def test_a_call_without_sends_is_settled_at_once(settlement: Settlement, raw: Any) -> None:
    settled = Settled()
    context: Any = type("Context", (), {"sends": [], "attempt": 1, "confirmation": None})
    settlement.confirm_sends(raw(0), context, settled, lambda *_: None)

    assert settled.done.is_set()


class Open:
    """A Delivery that is under way."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.callbacks: list[Callable[[Any], None]] = []

    def exception(self) -> BaseException | None:
        return self.error

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.callbacks.append(callback)

    def end(self, error: BaseException | None = None) -> None:
        self.error = error
        for callback in self.callbacks:
            callback(self)


def test_the_sends_of_a_batch_are_asked_once_for_all_its_members(settlement: Settlement, raw: Any) -> None:
    sends = [Open() for _ in range(3)]
    context: Any = type("Context", (), {"sends": sends, "attempt": 1, "confirmation": None})
    settled: list[int] = []
    for offset in range(50):
        settlement.confirm_sends(raw(offset), context, lambda one: settled.append(one.offset()), lambda *_: None)
    assert [len(send.callbacks) for send in sends] == [1, 1, 1]

    sends[2].end()
    sends[0].end()
    assert settled == []
    sends[1].end()
    assert settled == list(range(50))


def test_a_member_waits_for_what_was_sent_since_another_one_began_to_wait(settlement: Settlement, raw: Any) -> None:
    """As ids of handled messages are: each member adds one."""
    sends: list[Open] = []
    context: Any = type("Context", (), {"sends": sends, "attempt": 1, "confirmation": None})
    settled: list[int] = []
    failures: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()

    def failed(one: Any, error: BaseException, _: int) -> None:
        failures.put((one.offset(), str(error)))

    for offset in range(3):
        sends.append(Open())
        if offset == 1:
            # what is over is not waited for
            sends[0].end()
            assert settled == [0]
        settlement.confirm_sends(raw(offset), context, lambda one: settled.append(one.offset()), failed)
    sends[2].end(RuntimeError("refused"))
    sends[1].end()

    assert [failures.get(timeout=20) for _ in range(2)] == [(1, "refused"), (2, "refused")]
    assert settled == [0]
