"""Which messages of the control topic a worker process obeys, and what it answers; without a broker."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import pytest

import elsa
from elsa.control.protocol import Answer, Command, Status, Target, decode, encode
from elsa.control.service import Service
from elsa.errors import BufferFull, CommandError, KafkaError, UnknownTarget, UnknownTopic
from elsa.message import Message
from elsa.observer import Observer
from elsa.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.producer import Producer

STATUS = Status(worker="w-0", host="host", pid=17, version="0.1.0", started_at=1.5, slot=0)


class Delivered:
    def __init__(self, timestamp: float, error: BaseException | None) -> None:
        self.timestamp = timestamp
        self._error = error

    def result(self, timeout: float) -> None:
        if self._error is not None:
            raise self._error

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)


class Sender:
    """A producer whose broker's clock is `ahead` of ours."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.ahead = 0.0
        self.error: BaseException | None = None
        self.sent: list[tuple[str, Any, Any]] = []
        self.events: list[str] = []

    def send(self, topic: str, value: bytes | None, *, key: str, partition: int, block: bool) -> Delivered:
        # a full buffer must not hold the service up
        assert block is False
        # nobody reads another one
        assert partition == 0
        self.events.append("sent")
        self.sent.append((topic, key, None if value is None else decode(value)))
        return Delivered(self._clock.now() + self.ahead, self.error)


class Obedient:
    """Writes down what it is told."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self.told: list[str] = []
        self.error: Exception | None = None

    def obey(self, command: Command) -> tuple[Any, Callable[[], None] | None]:
        self.told.append(command.name)
        if self.error is not None:
            raise self.error
        return {"name": command.name}, lambda: self._sender.events.append("then")

    def describe(self, ignored: int) -> Status:
        return STATUS


class Counting(Observer):
    def __init__(self) -> None:
        self.counted: list[str] = []

    def commanded(self, outcome: str) -> None:
        self.counted.append(outcome)


class Desk:
    """A service that is not started, and what is around it."""

    def __init__(self, app: elsa.App, observer: Counting) -> None:
        self.name = "w-0"
        self.clock = FakeClock(1_000.0)
        self.observer = observer
        self.sender = Sender(self.clock)
        self.obedient = Obedient(self.sender)
        self.service = Service(app, lambda: self.name, 0, self.obedient, clock=self.clock)
        self.service._producer = cast("Producer", self.sender)

    def read(self, value: bytes | None, *, age: float | None = 0.0) -> None:
        """A message is read that the broker has stamped so many seconds ago."""
        stamped = None if age is None else self.clock.now() + self.sender.ahead - age
        self.service._take(Message("desk.control", 0, 7, b"1", value, (), stamped, "append", None, None))

    def command(self, name: str = "ping", *, age: float | None = 0.0, **facts: Any) -> None:
        self.read(encode(Command(name=name, id="1", **facts)), age=age)

    @property
    def answers(self) -> list[Any]:
        return [value for topic, _, value in self.sender.sent if topic == "desk.control"]


@pytest.fixture
def desk() -> Iterator[Desk]:
    observer = Counting()
    app = elsa.App("desk", observer=observer)
    yield Desk(app, observer)
    app.stop()


def test_a_command_is_obeyed_then_answered_and_only_then_followed(desk: Desk) -> None:
    """What follows may end the process: the answer has to be with the broker before."""
    desk.command("quiet")

    assert desk.sender.sent == [("desk.control", "1", Answer(id="1", worker="w-0", result={"name": "quiet"}))]
    assert desk.sender.events == ["sent", "then"]
    assert desk.observer.counted == ["ok"]


@pytest.mark.parametrize("worker", ["w-1", "1", "w"])
def test_commands_for_others_are_left(desk: Desk, worker: str) -> None:
    desk.command(target=Target(worker=worker))

    assert desk.obedient.told == []
    assert desk.sender.sent == []
    assert desk.observer.counted == []


def test_who_has_another_name_now_answers_and_reports_under_it(desk: Desk) -> None:
    desk.name = "w-0-ab"
    desk.command(target=Target(worker="w-0"))
    desk.command(target=Target(worker="w-0-ab"))
    desk.service._report()

    (_, _, answer), (_, key, _) = desk.sender.sent
    assert answer.worker == key == "w-0-ab"


@pytest.mark.parametrize("value", [None, b"hello", b'{"type":"command","id":"1","name":"stop","v":2}'])
def test_what_nobody_can_read_is_counted_and_left(desk: Desk, value: bytes | None) -> None:
    desk.read(value)

    assert desk.obedient.told == []
    assert desk.service.ignored == 1
    assert desk.observer.counted == ["unreadable"]


@pytest.mark.parametrize("value", [Answer(id="1", worker="w-1"), STATUS])
def test_answers_of_others_are_no_junk(desk: Desk, value: Answer | Status) -> None:
    desk.read(encode(value))

    assert desk.service.ignored == 0
    assert desk.observer.counted == []


@pytest.mark.parametrize(("age", "is_obeyed"), [(0.0, True), (1.9, True), (2.1, False), (3_600.0, False), (None, True)])
def test_a_command_that_is_read_too_late_is_left(desk: Desk, age: float | None, *, is_obeyed: bool) -> None:
    desk.command("stop", age=age, ttl=2.0)

    assert desk.obedient.told == (["stop"] if is_obeyed else [])
    assert desk.observer.counted == (["ok"] if is_obeyed else ["late"])


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_ages_are_measured_by_the_brokers_clock(desk: Desk, ahead: float) -> None:
    """This machine's clock is wrong by ten minutes; the stamps of its own reports say so."""
    desk.sender.ahead = ahead
    desk.service._report()
    desk.command("stop", age=1.0, ttl=2.0)
    desk.command("stop", age=3.0, ttl=2.0)

    assert desk.obedient.told == ["stop"]


@pytest.mark.parametrize(
    ("error", "answer", "counted"),
    [
        (CommandError("not so"), {"error": "not so"}, "refused"),
        (UnknownTarget("nothing here"), {"error": "nothing here", "is_absent": True}, "absent"),
        (ZeroDivisionError("a bug"), {"error": "a bug"}, "refused"),
        (RuntimeError(), {"error": "RuntimeError"}, "refused"),
    ],
)
def test_why_something_was_not_done_is_answered(
    desk: Desk, error: Exception, answer: dict[str, Any], counted: str
) -> None:
    desk.obedient.error = error
    desk.command("rate")

    assert desk.answers == [Answer(id="1", worker="w-0", **answer)]
    assert desk.observer.counted == [counted]
    assert "then" not in desk.sender.events


def test_an_answer_that_cannot_be_sent_does_not_keep_the_command_from_its_end(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.sender.error = KafkaError("away")
    desk.command("stop")

    assert desk.sender.events == ["sent", "then"]
    assert "a command could not be answered: away" in caplog.text


def test_a_report_lies_under_the_workers_name(desk: Desk) -> None:
    desk.service._report()

    assert desk.sender.sent == [("desk.status", "w-0", STATUS)]


def test_only_what_needs_help_is_a_warning_and_missing_topics_are_said_once(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "elsa.control")
    for error in (BufferFull("full"), UnknownTopic("topic 'desk.control' does not exist")):
        desk.service._tell(error)
        desk.service._tell(error)

    levels = [record.levelno for record in caplog.records]
    # the repeated ones are held back by the log's own limit
    assert levels == [logging.INFO, logging.INFO, logging.WARNING]
    assert "do not reach this worker: topic 'desk.control' does not exist" in caplog.text
