"""The numbered stream: messages 0, 1, 2, ... of each kind, at a steady pace; only what Kafka has confirmed counts."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import elsa
from tests.stress.kinds import FAIL, KEYS, PARTITIONS, REJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elsa.delivery import Delivery
    from tests.stress.kinds import Kind

_TICK_SECONDS = 0.05
#: longer than any broker is away
_SEND_SECONDS = 300.0


@dataclass(slots=True)
class Numbers:
    """What was sent of one kind: written by the stream's thread, `confirmed` and `refused` by the producer's."""

    kind: Kind
    partitions: int = PARTITIONS
    sent: int = 0
    rejects: set[int] = field(default_factory=set)
    confirmed: set[int] = field(default_factory=set)
    refused: list[BaseException] = field(default_factory=list)


class Stream:
    """Sends until `stop`; `grow` and `burst` may be called from any thread meanwhile."""

    def __init__(self, brokers: str, kinds: Sequence[Kind], *, per_second: float) -> None:
        self.numbers = [Numbers(kind) for kind in kinds]
        self.began = 0.0
        self.ended = 0.0
        self._app = elsa.App("stress-stream", brokers=brokers, send_timeout=_SEND_SECONDS)
        self._per_second = per_second
        #: one sender at a time, or two numbers of a key could change places
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stress-stream", daemon=True)

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        self._app.stop()

    @property
    def produced(self) -> int:
        """How many Kafka has confirmed."""
        return sum(len(numbers.confirmed) for numbers in self.numbers)

    def stop(self) -> None:
        """Send no more, and wait until Kafka has confirmed everything; idempotent."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
            self.ended = time.monotonic()
        self._app.producer.flush(_SEND_SECONDS)

    def grow(self, number: int, partitions: int) -> None:
        """Add partitions to a kind's topic; they get keys of their own, so that no key moves."""
        numbers = self.numbers[number]
        total = numbers.partitions + partitions
        self._app.topics.add_partitions(numbers.kind.topic, total, timeout=60)
        with self._lock:
            numbers.partitions = total

    def burst(self, number: int, count: int) -> None:
        """Messages that fail or are rejected, at once."""
        numbers = self.numbers[number]
        with self._lock:
            for turn in range(count):
                has_rejects = numbers.kind.reject_every and turn % 2
                self._send(numbers, REJECT if has_rejects else FAIL if numbers.kind.fail_every else 0)

    def _run(self) -> None:
        begun = time.monotonic()
        due = 0
        while not self._ending.wait(_TICK_SECONDS):
            wanted = int((time.monotonic() - begun) * self._per_second)
            with self._lock:
                for _ in range(wanted - due):
                    for numbers in self.numbers:
                        self._send(numbers, numbers.kind.fate(numbers.sent))
            due = wanted

    def _send(self, numbers: Numbers, fate: int) -> None:
        number = numbers.sent
        # all partitions in turn, and the keys of each
        partition = number % numbers.partitions
        lane = partition * KEYS + number // numbers.partitions % KEYS
        note = {"number": number, "lane": lane, "fate": fate}
        delivery = self._app.send(numbers.kind.topic, note, key=str(lane), partition=partition)
        numbers.sent += 1
        if fate == REJECT:
            numbers.rejects.add(number)

        def confirmed(done: Delivery) -> None:
            error = done.exception(0)
            if error is None:
                numbers.confirmed.add(number)
            else:
                numbers.refused.append(error)

        delivery.add_done_callback(confirmed)
