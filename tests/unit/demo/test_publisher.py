from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

from elsa.demo.dataset import Flight
from elsa.demo.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable

FLIGHT = Flight(0, "UA", 1, "N1", "JFK", "SFO", 2_586, 0, 0, 300)


class Delivered:
    """A Delivery that is done at once."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return self.error

    def add_done_callback(self, callback: Callable[[Delivered], None]) -> None:
        callback(self)


class Stopwatch(threading.Event):
    """Both clock and event: waiting moves the time, and takes none."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 100.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.pauses.append(timeout)
        self.time += timeout
        return self.is_set()


def test_every_flight_is_sent_and_confirmed_once() -> None:
    sent: list[Flight] = []
    ended = threading.Event()

    def send(flight: Flight) -> Delivered:
        sent.append(flight)
        return Delivered()

    publisher = Publisher([FLIGHT] * 5, send, rate=None, on_end=ended.set)
    publisher.run()

    assert sent == [FLIGHT] * 5
    assert (publisher.sent, publisher.confirmed, publisher.error) == (5, 5, None)
    assert ended.is_set()


def test_the_rate_is_kept_over_the_whole_time() -> None:
    watch = Stopwatch()
    publisher = Publisher([FLIGHT] * 1_001, lambda _: Delivered(), rate=500, clock=watch, stopped=watch)

    publisher.run()

    assert publisher.sent == 1_001
    assert 1.99 <= watch.time - 100.0 <= 2.02
    # flights between two pauses leave together
    assert min(watch.pauses) >= 0.02


def test_stopping_ends_an_endless_stream() -> None:
    publisher = Publisher(itertools.repeat(FLIGHT), lambda _: Delivered(), rate=10)
    publisher.start()
    publisher.stop(10)

    assert not publisher.is_alive()


def test_stopping_before_the_start_publishes_nothing() -> None:
    publisher = Publisher(itertools.repeat(FLIGHT), lambda _: Delivered(), rate=None)
    publisher.stop(1)
    publisher.run()

    assert publisher.sent == 0


def test_a_flight_that_kafka_refuses_ends_it_with_the_error() -> None:
    error = ConnectionError("gone")
    publisher = Publisher(itertools.repeat(FLIGHT), lambda _: Delivered(error), rate=None)
    publisher.run()

    assert publisher.error is error
    assert publisher.confirmed == 0


def test_a_send_that_raises_is_told() -> None:
    error = BufferError("full")

    def send(_: Flight) -> Delivered:
        raise error

    publisher = Publisher([FLIGHT], send, rate=None)
    publisher.run()

    assert publisher.error is error
