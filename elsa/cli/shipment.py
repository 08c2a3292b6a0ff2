"""Sends many messages through one producer and counts what became of them; called by `elsa produce`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elsa import exits
from elsa.cli.lines import BadLine
from elsa.errors import ElsaError, MessageTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from elsa.delivery import Delivery
    from elsa.message import Record
    from elsa.producer import Producer

#: how often the progress is told
_EVERY = 256


@dataclass(slots=True)
class Shipment:
    """What became of the messages sent so far; used by one thread.

    `places` holds [count, first offset, last offset] of each partition, `stopped` why the rest was not sent any
    more, `unconfirmed` how many were sent and not waited for, because a second ctrl-C came.
    """

    delivered: int = 0
    failed: int = 0
    first_failure: str | None = None
    stopped: str | None = None
    is_interrupted: bool = False
    unconfirmed: int = 0
    places: dict[int, list[int]] = field(default_factory=dict)
    _codes: set[int] = field(default_factory=set)
    _pending: deque[tuple[int, Delivery]] = field(default_factory=deque)

    @property
    def is_complete(self) -> bool:
        return not (self.failed or self.stopped or self.is_interrupted)

    @property
    def exit_code(self) -> int:
        """What elsa.exits says of the reason, if all failed for reasons of one kind; FAILED if only a part did."""
        if self.is_interrupted:
            return exits.INTERRUPTED
        if self.is_complete:
            return exits.OK
        return next(iter(self._codes)) if not self.delivered and len(self._codes) == 1 else exits.FAILED

    def send(
        self,
        producer: Producer,
        topic: str,
        records: Iterable[tuple[int, Record]],
        *,
        progress: Callable[[Shipment], None],
        **options: Any,
    ) -> None:
        """Send every (line number, record), and wait until each is confirmed or has failed.

        A message that is too large fails alone; whatever would fail the following ones too (and a bad line, or
        ctrl-C) stops the sending. What was sent before is waited for, until ctrl-C comes again.
        """
        try:
            for count, (number, record) in enumerate(records):
                if not self._send_one(producer, topic, number, record, options):
                    break
                self._settle(wait=False)
                if count % _EVERY == 0:
                    progress(self)
        except BadLine as error:
            self.stopped = str(error)
            self._codes.add(exits.FAILED)
        except KeyboardInterrupt:
            self.is_interrupted = True
        self._finish(progress)

    def _finish(self, progress: Callable[[Shipment], None]) -> None:
        """Wait for what was sent; a second ctrl-C gives that up."""
        while self._pending:
            try:
                self._settle(wait=True, progress=progress)
            except KeyboardInterrupt:
                if self.is_interrupted:
                    break
                self.is_interrupted = True
        self.unconfirmed = len(self._pending)

    def _send_one(self, producer: Producer, topic: str, number: int, record: Record, options: dict[str, Any]) -> bool:
        """Whether the following messages may be sent."""
        own = {"key": record.key, "partition": record.partition, "timestamp": record.timestamp}
        given = {**options, **{name: value for name, value in own.items() if value is not None}}
        given["headers"] = [*options.get("headers", ()), *record.headers]  # type: ignore[misc]  # lines make lists
        try:
            self._pending.append((number, producer.send(topic, record.value, **given)))
        except MessageTooLarge as error:
            self._fail(number, error)
        except ElsaError as error:
            self._fail(number, error)
            self.stopped = f"line {number}: {error}"
            return False
        return True

    def _fail(self, number: int, error: BaseException) -> None:
        self.failed += 1
        self._codes.add(exits.code_of(error))
        if self.first_failure is None:
            self.first_failure = f"line {number}: {error}"

    def _settle(self, *, wait: bool, progress: Callable[[Shipment], None] | None = None) -> None:
        """Count what is confirmed or has failed, in the order of sending."""
        while self._pending and (wait or self._pending[0][1].done()):
            number, delivery = self._pending[0]
            error = delivery.exception()
            self._pending.popleft()
            if error is not None:
                self._fail(number, error)
                continue
            self.delivered += 1
            assert delivery.partition is not None
            assert delivery.offset is not None
            place = self.places.setdefault(delivery.partition, [0, delivery.offset, delivery.offset])
            place[0] += 1
            place[2] = delivery.offset
            if progress is not None and self.delivered % _EVERY == 0:
                progress(self)
