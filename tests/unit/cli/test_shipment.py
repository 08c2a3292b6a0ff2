"""How many messages are sent and counted, with a producer made of Deliveries that are settled by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from elsa import exits
from elsa.cli.lines import BadLine
from elsa.cli.shipment import Shipment
from elsa.errors import AuthorizationFailed, BrokerUnavailable, BufferFull, KafkaError, MessageTooLarge
from elsa.message import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from elsa.producer import Producer


class Settled:
    def __init__(self, partition: int, offset: int, error: BaseException | None = None) -> None:
        self.partition, self.offset, self.error = partition, offset, error

    def done(self) -> bool:
        return True

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return self.error


class Interrupted(Settled):
    """One that is never confirmed while ctrl-C comes."""

    def done(self) -> bool:
        return False

    def exception(self, timeout: float | None = None) -> BaseException | None:
        raise KeyboardInterrupt


class Sender:
    """Values decide: an exception is raised, a Delivery is returned, bytes are confirmed at once."""

    def __init__(self, outcomes: dict[bytes, Any] | None = None) -> None:
        self.outcomes = outcomes or {}
        self.sent: list[tuple[bytes, dict[str, Any]]] = []

    def send(self, topic: str, value: bytes, **options: Any) -> Settled:
        outcome = self.outcomes.get(value)
        if isinstance(outcome, KafkaError | MessageTooLarge | BufferFull):
            raise outcome
        self.sent.append((value, options))
        return outcome or Settled(0, len(self.sent) - 1)


def shipped(sender: Sender, records: Iterable[tuple[int, Record]], **options: Any) -> Shipment:
    shipment = Shipment()
    shipment.send(cast("Producer", sender), "t", records, progress=lambda _: None, **options)
    return shipment


def values(*contents: bytes) -> list[tuple[int, Record]]:
    return [(number, Record(content, headers=[])) for number, content in enumerate(contents, 1)]


def test_everything_confirmed_is_complete_and_has_its_places() -> None:
    shipment = shipped(Sender({b"b": Settled(1, 7)}), values(b"a", b"b", b"c"))

    assert shipment.is_complete
    assert (shipment.delivered, shipment.places) == (3, {0: [2, 0, 2], 1: [1, 7, 7]})


def test_the_options_are_for_messages_that_name_none_of_their_own() -> None:
    sender = Sender()
    records = [
        (1, Record(b"a", headers=[])),
        (2, Record(b"b", key=b"own", partition=3, timestamp=5.0, headers=[("x", b"y")])),
    ]

    shipped(sender, records, key="given", partition=1, headers=[("all", "1")])

    assert sender.sent == [
        (b"a", {"key": "given", "partition": 1, "headers": [("all", "1")]}),
        (b"b", {"key": b"own", "partition": 3, "timestamp": 5.0, "headers": [("all", "1"), ("x", b"y")]}),
    ]


def test_a_refused_message_is_counted_with_its_line_and_the_others_go_on() -> None:
    refused = Settled(0, 0, KafkaError("refused"))

    shipment = shipped(Sender({b"b": refused}), values(b"a", b"b", b"c"))

    assert (shipment.delivered, shipment.failed, shipment.first_failure) == (2, 1, "line 2: refused")
    assert not shipment.is_complete


def test_a_message_that_is_too_large_fails_alone() -> None:
    shipment = shipped(Sender({b"b": MessageTooLarge("large")}), values(b"a", b"b", b"c"))

    assert (shipment.delivered, shipment.failed, shipment.stopped) == (2, 1, None)


def test_what_would_fail_the_rest_too_stops_the_sending() -> None:
    sender = Sender({b"b": BufferFull("full")})

    shipment = shipped(sender, values(b"a", b"b", b"c"))

    assert (shipment.delivered, shipment.failed, shipment.stopped) == (1, 1, "line 2: full")
    assert [value for value, _ in sender.sent] == [b"a"]


@pytest.mark.parametrize("error", [BadLine(2, "not JSON"), KeyboardInterrupt()])
def test_a_bad_line_or_an_interrupt_stops_and_what_was_sent_is_counted(error: BaseException) -> None:
    def records() -> Iterator[tuple[int, Record]]:
        yield 1, Record(b"a", headers=[])
        raise error

    shipment = shipped(Sender(), records())

    assert shipment.delivered == 1
    assert not shipment.is_complete
    assert shipment.is_interrupted is isinstance(error, KeyboardInterrupt)
    assert shipment.stopped == ("line 2: not JSON" if isinstance(error, BadLine) else None)


def test_what_is_not_waited_for_is_said_to_be_unconfirmed() -> None:
    shipment = shipped(Sender({b"b": Interrupted(0, 0)}), values(b"a", b"b", b"c"))

    assert (shipment.delivered, shipment.unconfirmed, shipment.is_interrupted) == (1, 2, True)


REFUSED, AWAY = AuthorizationFailed("needs Write"), BrokerUnavailable("no answer")


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ({}, exits.OK),
        ({b"a": Settled(0, 0, REFUSED), b"b": Settled(0, 0, REFUSED)}, exits.BROKER),
        # the reasons differ, and their kind does not
        ({b"a": Settled(0, 0, REFUSED), b"b": Settled(0, 0, AWAY)}, exits.BROKER),
        ({b"a": REFUSED}, exits.BROKER),
        ({b"a": Settled(0, 0, REFUSED), b"b": MessageTooLarge("large")}, exits.FAILED),
        ({b"b": Settled(0, 0, REFUSED)}, exits.FAILED),
        ({b"a": Interrupted(0, 0)}, exits.INTERRUPTED),
    ],
)
def test_the_exit_code_is_that_of_the_reason_when_everything_failed_for_one(
    outcomes: dict[bytes, Any], code: int
) -> None:
    assert shipped(Sender(outcomes), values(b"a", b"b")).exit_code == code
