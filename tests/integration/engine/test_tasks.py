"""Tasks: called by name with arguments, several on one topic, sync and async side by side.

What is no call of a declared task is a dead letter; any client can call one that writes the header and the JSON body.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Log, Seen

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_arguments_arrive_as_they_were_given(app: elsa.App, topic: Topics) -> None:
    name = topic()
    seen: Seen[tuple[Any, ...]] = Seen()

    @app.task(topic=name)
    def welcome(user_id: int, *tags: str, locale: str = "en", ctx: elsa.Context, **rest: float) -> None:
        seen((user_id, tags, locale, rest, ctx.key))

    with app:
        welcome.send(42)
        welcome.send(7, "a", "b", locale="da", weight=1.5)
        welcome.options(key="k").send(user_id=1)
        welcome.send_many([(2,), {"user_id": 3, "locale": "fr"}])
        items = seen.wait(5)

    assert items == [
        (42, (), "en", {}, None),
        (7, ("a", "b"), "da", {"weight": 1.5}, None),
        (1, (), "en", {}, b"k"),
        (2, (), "en", {}, None),
        (3, (), "fr", {}, None),
    ]


def test_wrong_arguments_raise_at_the_call(app: elsa.App, topic: Topics) -> None:
    @app.task(topic=topic())
    def welcome(user_id: int, locale: str = "en") -> None: ...

    with pytest.raises(TypeError, match="missing a required argument: 'user_id'"):
        welcome.send()
    with pytest.raises(TypeError, match="Expected `int`, got `str`"):
        welcome.send("42")
    with pytest.raises(TypeError, match="unexpected keyword argument 'lang'"):
        welcome.send(42, lang="da")


def test_a_foreign_producer_and_messages_that_call_nothing(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen: Seen[tuple[int, int]] = Seen()

    @app.task(topic=name, name="math.add")
    def add(a: int, b: int = 10) -> None:
        seen((a, b))

    def record(body: bytes | None, task: str | None) -> elsa.Record:
        return elsa.Record(body, headers={"elsa-task": task} if task else {})

    app.produce(
        name,
        [
            record(b"[[1], {}]", "math.add"),
            record(b'[[2], {"b": 3}]', "math.add"),
            record(b"[[1], {}]", "math.subtract"),
            record(b"[[1], {}]", None),
            record(b'[["one"], {}]', "math.add"),
            record(b"[[1, 2, 3], {}]", "math.add"),
            record(b'{"a": 1}', "math.add"),
            record(None, "math.add"),
            record(b"[[9], {}]", "math.add"),
        ],
    )
    with app:
        assert seen.wait(3) == [(1, 10), (2, 3), (9, 10)]
        dead = log.wait_for(f"{name}.{app.name}.dlq", 6)
        log.wait_committed(app.name, name, 9)

    reasons = {message.header("elsa-origin"): message.header("elsa-reason") for message in dead}
    assert reasons == {
        f"{name}:0:{offset}".encode(): reason
        for offset, reason in (
            (2, b"unknown"),
            (3, b"unknown"),
            (4, b"decode"),
            (5, b"decode"),
            (6, b"decode"),
            (7, b"decode"),
        )
    }
    unknown = next(m for m in dead if m.header("elsa-origin") == f"{name}:0:2".encode())
    assert b"no task is named 'math.subtract'" in (unknown.header("elsa-error-message") or b"")


def test_sync_and_async_tasks_share_a_topic_in_order(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen: Seen[tuple[str, int, str]] = Seen()

    @app.task(topic=name, name="later")
    async def later(number: int) -> None:
        seen(("later", number, threading.current_thread().name))

    @app.task(topic=name, name="now")
    def now(number: int) -> None:
        seen(("now", number, threading.current_thread().name))

    with app:
        for number in range(40):
            (later if number % 3 else now).send(number)
        app.produce(name, elsa.Record(b"[[0], {}]", headers={"elsa-task": "nobody"}))
        for number in range(40, 60):
            (now if number % 2 else later).send(number)
        items = seen.wait(60)
        log.wait_committed(app.name, name, 61)

    assert [number for _, number, _ in items] == list(range(60))
    assert {thread == "elsa-loop" for kind, _, thread in items if kind == "later"} == {True}
    assert {thread == "elsa-loop" for kind, _, thread in items if kind == "now"} == {False}
