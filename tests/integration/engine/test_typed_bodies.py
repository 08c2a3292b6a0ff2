"""Bodies are decoded to the annotation; what does not fit is a dead letter, alone, and nothing behind it waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
import pydantic
import pytest

import elsa

from .waiting import Log, Seen

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


class Order(msgspec.Struct):
    id: int


@dataclass
class OrderData:
    id: int


class OrderDict(TypedDict):
    id: int


class OrderModel(pydantic.BaseModel):
    id: int


@pytest.mark.parametrize(
    ("annotation", "sent", "expected"),
    [
        (Order, Order(1), Order(1)),
        (OrderData, OrderData(1), OrderData(1)),
        (OrderDict, {"id": 1}, {"id": 1}),
        (OrderModel, OrderModel(id=1), OrderModel(id=1)),
        (list[OrderModel], [{"id": 1}], [OrderModel(id=1)]),
        (bytes, b"\xff", b"\xff"),
        (str, "text", "text"),
        (dict, {"a": [1]}, {"a": [1]}),
        (int | str, 5, 5),
        (Order | None, None, None),
        (bytes | None, None, None),
    ],
)
def test_a_body_comes_as_its_annotation_says(
    app: elsa.App, topic: Topics, annotation: Any, sent: Any, expected: Any
) -> None:
    seen: Seen[Any] = Seen()

    def handle(body: Any) -> None:
        seen(body)

    handle.__annotations__["body"] = annotation
    handler = app.handler(topic())(handle)
    handler.send(sent)
    with app:
        assert seen.wait(1) == [expected]


def test_a_message_comes_undecoded(app: elsa.App, topic: Topics) -> None:
    name = topic()
    seen: Seen[elsa.Message] = Seen()

    @app.handler(name)
    def handle(message: elsa.Message) -> None:
        seen(message)

    headers = [("a", b"1"), ("a", b"2"), ("b", None)]
    app.produce(name, [elsa.Record(None, key="k", headers=headers), elsa.Record(b"")])
    with app:
        first, second = seen.wait(2)

    assert (first.value, first.key, first.headers, first.offset) == (None, b"k", tuple(headers), 0)
    assert (second.value, second.key, second.headers) == (b"", None, ())
    assert first.generation is not None
    assert first.timestamp_type == "create"


def test_what_does_not_fit_is_a_dead_letter_alone(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen: Seen[int] = Seen()

    @app.handler(name)
    def handle(order: Order) -> None:
        seen(order.id)

    app.produce(name, ['{"id": 1}', "not json", '{"id": "x"}', elsa.Record(None), '{"id": 2}'])
    with app:
        assert seen.wait(2) == [1, 2]
        dead = log.wait_for(f"{name}.{app.name}.dlq", 3)
        log.wait_committed(app.name, name, 5)

    assert [message.value for message in dead] == [b"not json", b'{"id": "x"}', None]
    assert {message.header("elsa-reason") for message in dead} == {b"decode"}


def test_an_undecodable_member_of_a_batch_dies_alone(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen: Seen[list[int]] = Seen()

    @app.handler(name, batch=5, batch_wait=2)
    def handle(orders: list[Order], ctx: elsa.Context) -> None:
        assert len(orders) == len(ctx.messages)
        seen([order.id for order in orders])

    app.produce(name, ['{"id": 0}', "bad", '{"id": 2}', "worse", '{"id": 4}'])
    with app:
        assert seen.wait(1) == [[0, 2, 4]]
        dead = log.wait_for(f"{name}.{app.name}.dlq", 2)
        log.wait_committed(app.name, name, 5)

    assert [message.value for message in dead] == [b"bad", b"worse"]
