"""Messages that are put off on a real Kafka: each arrives once, where and when it was to, and never earlier.

Time is the broker's: the delay topics stamp what they hold, and the mover lets a message go when its broker says so.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa import headers as names
from elsa.delays.plan import ABSENCE_SECONDS
from elsa.partitioners import murmur2

from .waiting import Log, Seen, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker

#: a delayed message's way begins with eleven topics that have to be made
PATIENCE = 60.0


def test_messages_arrive_once_in_the_right_place_and_never_early(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic(3)
    seen: Seen[tuple[int, float, elsa.Message]] = Seen()

    @app.handler(name, group=app.name)
    def handle(body: int, ctx: elsa.Context) -> None:
        seen((body, time.time(), ctx.message))

    waits = [0.3, 1.0, 1.7, 2.5, 3.2, 4.0, 5.0, 0.0]
    with app:
        sent = {}
        for number in range(40):
            wait = waits[number % len(waits)]
            options: dict[str, Any] = {"key": f"k{number}"} if number % 2 else {"partition": number % 3}
            now = time.time()
            eta = datetime.fromtimestamp(now + wait, UTC)
            when: dict[str, Any] = {"delay": wait} if number % 5 else {"eta": eta}
            handle.options(headers={"mine": "1"}, id=f"id-{number}", **options, **when).send(number)
            sent[number] = now + wait, options
        seen.wait(40, PATIENCE)

    # what was handled is all that there is: nothing lies there twice
    assert Counter(int(message.value or b"-1") for message in log.read(name)) == Counter(range(40))
    for number, arrived, message in seen.items:
        due, options = sent[number]
        # the header says it in whole milliseconds
        assert arrived >= due - 0.001, f"{number} came {due - arrived:.4f} s early"
        assert names.text(message.headers, names.ID) == f"id-{number}"
        assert names.text(message.headers, "mine") == "1"
        assert names.text(message.headers, names.TARGET) is None
        assert message.key == (options["key"].encode() if "key" in options else None)
        if "partition" in options:
            assert message.partition == options["partition"]
        else:
            assert message.partition == murmur2(message.key, 3)


def test_a_message_sent_before_the_first_worker_waits_for_it(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log
) -> None:
    name = topic(1)
    app = make_app()
    seen: Seen[str] = Seen()
    app.send(name, "early bird", delay=1.0).result(PATIENCE)

    @app.handler(name, group=app.name)
    def handle(body: str) -> None:
        seen(body)

    with app:
        assert seen.wait(1, PATIENCE) == ["early bird"]


def test_a_task_may_be_put_off_inside_a_handler(app: elsa.App, topic: Topics) -> None:
    name = topic(1)
    seen: Seen[tuple[str, float]] = Seen()

    @app.handler(name, group=app.name)
    def handle(body: str) -> None:
        if body == "first":
            seen((body, time.time()))
            handle.options(delay=1.5).send("second")
        else:
            seen((body, time.time()))

    with app:
        handle.send("first")
        (_, first), (what, second) = seen.wait(2, PATIENCE)

    assert what == "second"
    assert second >= first + 1.5 - 0.001


def test_a_cancelled_message_never_arrives(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic(1)
    seen: Seen[int] = Seen()

    @app.handler(name, group=app.name)
    def handle(body: int) -> None:
        seen(body)

    with app:
        # its way has been made
        handle.options(delay=0.1).send(0)
        seen.wait(1, PATIENCE)
        deliveries = [handle.options(delay=4.0).send(number) for number in range(1, 11)]
        for delivery in deliveries:
            delivery.result(10)
        for delivery in deliveries[::2]:
            assert delivery.id is not None
            app.cancel(delivery.id)
        # one that is due after all of them
        handle.options(delay=5.5).send(99)
        seen.wait_for(lambda items: 99 in items, "the last one", PATIENCE)

    assert sorted(seen.items) == [0, 2, 4, 6, 8, 10, 99]
    assert len(log.read(name)) == 7


def test_cancelling_works_before_anything_was_ever_put_off(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic(1)
    seen: Seen[int] = Seen()

    @app.handler(name, group=app.name)
    def handle(body: int) -> None:
        seen(body)

    app.cancel("mine")
    with app:
        handle.options(delay=2.0, id="mine").send(1)
        handle.options(delay=3.0, id="other").send(2)
        seen.wait(1, PATIENCE)

    assert seen.items == [2]


def test_what_cannot_be_delivered_is_kept_with_the_reason(app: elsa.App, topic: Topics, log: Log) -> None:
    name, gone = topic(1), topic(1)
    seen: Seen[int] = Seen()

    @app.handler(name, group=app.name)
    def handle(body: int) -> None:
        seen(body)

    with app:
        app.send(gone, {"lost": 1}, key="k", delay=3.0, id="lost").result(PATIENCE)
        app.topics.delete(gone)
        for number in range(5):
            handle.options(delay=3.0).send(number)
        seen.wait(5, PATIENCE)
        letters = f"{app.name}.delay.dlq"
        until(lambda: log.read(letters), "it is kept", ABSENCE_SECONDS + PATIENCE)

    (letter,) = log.read(letters)
    assert (letter.key, letter.value) == (b"k", b'{"lost":1}')
    assert names.text(letter.headers, names.ID) == "lost"
    assert str(names.text(letter.headers, names.TARGET)).partition(":")[0] == gone
    assert names.text(letter.headers, names.REASON) == "undeliverable"
    assert gone in str(names.text(letter.headers, names.ERROR_MESSAGE))
    assert sorted(seen.items) == list(range(5))
