"""Handlers and tasks: declaration, names, shapes, local calls, what a send puts on the wire."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import elsa
from elsa.errors import DeclarationError, DecodeError
from elsa.handlers import Handler, Task, default_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


class Order(msgspec.Struct):
    id: int


class FakeProducer:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any, dict[str, Any]]] = []

    def send(self, topic: str, value: Any, **options: Any) -> str:
        self.sent.append((topic, value, options))
        return "delivery"


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-handlers")
    app.__dict__["_producer"] = FakeProducer()
    yield app
    del app.__dict__["_producer"]
    app.stop()


def sent(app: elsa.App) -> list[tuple[str, Any, dict[str, Any]]]:
    producer: Any = app.producer
    found: list[tuple[str, Any, dict[str, Any]]] = producer.sent
    return found


def test_calling_a_handler_runs_it_here(app: elsa.App) -> None:
    @app.handler("orders")
    def bill(order: Order) -> int:
        return order.id

    assert bill(Order(7)) == 7
    assert isinstance(bill, Handler)
    assert bill.__wrapped__.__name__ == "bill"  # type: ignore[attr-defined]  # set by functools


def test_a_class_handler_runs_on_a_fresh_instance(app: elsa.App) -> None:
    @app.handler("orders")
    class Count:
        # the decorator's type is lost on classes: mypy keeps the class
        def __init__(self) -> None:
            self.seen = 0

        def handle(self, order: Order) -> int:
            self.seen += order.id
            return self.seen

    call: Any = Count
    assert call(Order(2)) == 2
    assert call(Order(3)) == 3


def test_names_are_module_and_function(app: elsa.App) -> None:
    @app.handler("orders")
    def bill(order: Order) -> None: ...

    assert bill.name == f"{__name__}.test_names_are_module_and_function.bill"


def test_a_script_and_its_worker_agree_on_names(tmp_path: Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text(
        "import elsa\napp = elsa.App('x')\n@app.task\ndef bill() -> None: ...\nprint(bill.name)\n", encoding="utf-8"
    )
    found = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert found.stdout.strip() == "shop.bill"


def test_two_handlers_of_one_name_are_refused(app: elsa.App) -> None:
    app.handler("a", name="same")(lambda body: None)

    with pytest.raises(DeclarationError, match="'same' exists already"):
        app.handler("b", name="same")(lambda body: None)


def test_a_second_handler_on_a_topic_of_a_group_is_refused_and_told_the_way_out(app: elsa.App) -> None:
    app.handler("a", name="one")(lambda body: None)

    with pytest.raises(DeclarationError, match=r"has the handler one already[\s\S]*another group="):
        app.handler("a", name="two")(lambda body: None)
    app.handler("a", name="three", group="other")(lambda body: None)


def test_tasks_share_a_topic_but_not_with_a_handler(app: elsa.App) -> None:
    app.task(name="t1", topic="x")(lambda: None)
    app.task(name="t2", topic="x")(lambda: None)

    with pytest.raises(DeclarationError, match="has the handler t1 already"):
        app.handler("x", name="h")(lambda body: None)


def test_tasks_that_disagree_on_their_topic_are_refused(app: elsa.App) -> None:
    app.task(name="t1", topic="x")(lambda: None)

    with pytest.raises(DeclarationError, match="disagree on max_in_flight"):
        app.task(name="t2", topic="x", max_in_flight=5)(lambda: None)


def test_send_encodes_and_passes_the_options(app: elsa.App) -> None:
    @app.handler("orders")
    def bill(order: Order) -> None: ...

    bill.send(Order(1), key="k")
    bill.options(key="q", headers={"a": "1"}, topic="other").send(Order(2))

    assert sent(app) == [
        ("orders", b'{"id":1}', {"key": "k"}),
        ("other", b'{"id":2}', {"key": "q", "headers": [("a", b"1")]}),
    ]


def test_an_unknown_option_of_a_send_is_refused(app: elsa.App) -> None:
    @app.handler("orders")
    def bill(order: Order) -> None: ...

    with pytest.raises(TypeError, match="unknown option 'prio'"):
        bill.send(Order(1), prio=3)


def test_options_beside_the_body_are_shown_their_place(app: elsa.App) -> None:
    @app.handler("orders")
    def bill(order: Order) -> None: ...

    call: Any = bill.options(delay=3)
    with pytest.raises(TypeError, match=r"send takes the body alone, and key=, topic= belongs into options\(\.\.\.\)"):
        call.send(Order(1), key="k", topic="other")
    with pytest.raises(TypeError, match=r"send takes the body alone$"):
        call.send(Order(1), Order(2))


def test_a_regex_handler_needs_a_topic_to_send_to(app: elsa.App) -> None:
    @app.handler("^orders.*")
    def bill(order: Order) -> None: ...

    with pytest.raises(DeclarationError, match="bound to the regex"):
        bill.send(Order(1))
    bill.options(topic="orders-eu").send(Order(1))
    assert sent(app)[0][0] == "orders-eu"


def test_a_task_is_called_by_name_with_json_arguments(app: elsa.App) -> None:
    @app.task
    def welcome(user_id: int, locale: str = "en") -> None: ...

    assert isinstance(welcome, Task)
    welcome.send(42, locale="da")

    topic, value, options = sent(app)[0]
    assert topic == "unit-handlers.tasks"
    assert json.loads(value) == [[42, "da"], {}]
    assert options["headers"] == [("elsa-task", welcome.name.encode())]


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, "da", 3), {}), (("x",), {}), ((1,), {"locale": 5}), ((1,), {"zone": 1})]
)
def test_arguments_that_do_not_fit_raise_at_the_call(app: elsa.App, args: Any, kwargs: Any) -> None:
    @app.task
    def welcome(user_id: int, locale: str = "en") -> None: ...

    with pytest.raises(TypeError):
        welcome.send(*args, **kwargs)
    assert sent(app) == []


def test_a_task_decodes_its_arguments_by_annotation(app: elsa.App) -> None:
    @app.task
    def ship(order: Order, *more: int, note: str | None = None, ctx: elsa.Context, **rest: float) -> None: ...

    bound = ship._decode_call(b'[[{"id":1},2,3],{"note":null,"weight":1.5}]')

    assert bound.args == (Order(1), 2, 3)
    assert bound.kwargs == {"note": None, "weight": 1.5}


@pytest.mark.parametrize("body", [None, b"", b"{}", b"[[],{}]", b'[["x"],{}]', b'[[1],{"zone":2}]'])
def test_a_call_that_does_not_fit_is_a_decode_error(app: elsa.App, body: bytes | None) -> None:
    @app.task
    def ship(order_id: int) -> None: ...

    with pytest.raises(DecodeError):
        ship._decode_call(body)


def test_shapes_are_read_off_the_signature(app: elsa.App) -> None:
    @app.handler("a")
    async def first(ctx: elsa.Context, order: Order | None) -> None: ...

    @app.handler("b", batch=10)
    def second(orders: list[Order]) -> None: ...

    @app.handler("c")
    def third() -> None: ...

    assert (first.is_async, first.shape.context, first.shape.body) == (True, "ctx", Order | None)
    assert (second.is_async, second.shape.context, second.shape.body) == (False, None, Order)
    assert third.shape.has_body is False


def test_wrong_shapes_are_refused(app: elsa.App) -> None:
    class NoHandle: ...

    class NoBatch:
        def handle(self, body: dict[str, Any]) -> None: ...

    def takes_one(order: Order) -> None: ...

    with pytest.raises(DeclarationError, match="has no method handle"):
        app.handler("a")(NoHandle)
    with pytest.raises(DeclarationError, match="has no method handle_batch"):
        app.handler("a", batch=5)(NoBatch)
    with pytest.raises(DeclarationError, match=r"a batch handler takes list\[T\]"):
        app.handler("a", batch=5)(takes_one)
    with pytest.raises(DeclarationError, match="neither a function nor a class"):
        app.handler("a", name="x")(3)
    with pytest.raises(DeclarationError, match="is a handler already"):
        app.handler("a")(app.handler("b")(takes_one))


def test_what_could_never_run_is_refused(app: elsa.App) -> None:
    def two(order: Order, urgent: bool) -> None: ...  # noqa: FBT001 - the point of the test

    def keyword_only(*, order: Order) -> None: ...

    def yields(order: Order) -> Iterator[int]:
        yield order.id

    async def yields_async(order: Order) -> AsyncIterator[int]:
        yield order.id

    class WantsArguments:
        def __init__(self, database: str) -> None: ...

        def handle(self, body: Order) -> None: ...

    def fine(order: Order, urgent: bool = False) -> None: ...  # noqa: FBT001, FBT002 - the point of the test

    with pytest.raises(DeclarationError, match="nothing fills the parameter 'urgent'"):
        app.handler("a")(two)
    with pytest.raises(DeclarationError, match="nothing fills the parameter 'order'"):
        app.handler("a")(keyword_only)
    with pytest.raises(DeclarationError, match="it yields, so calling it would run nothing of it"):
        app.handler("a")(yields)
    with pytest.raises(DeclarationError, match="it yields"):
        app.handler("a")(yields_async)
    with pytest.raises(DeclarationError, match="instantiated without arguments: missing a required argument"):
        app.handler("a")(WantsArguments)
    with pytest.raises(DeclarationError, match="neither a function nor a class"):
        app.handler("a")(3)
    with pytest.raises(DeclarationError, match="group=5 is no name"):
        app.handler("a", group=5)(fine)  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(DeclarationError, match="dead_letter='a' is its own topic"):
        app.handler("a", dead_letter="a")(fine)
    assert app.handler("a")(fine).shape.has_body is True


def test_the_context_may_stand_before_the_body(app: elsa.App) -> None:
    calls: list[Any] = []

    @app.handler("a")
    def before(ctx: elsa.Context, order: Order) -> None:
        calls.append((ctx.offset, order))

    @app.task(topic="b")
    def task(first: int, ctx: elsa.Context, *rest: int) -> None:
        calls.append((ctx.offset, first, rest))

    @app.handler("c")
    def positional(order: Order, ctx: elsa.Context, /) -> None:
        calls.append((ctx.offset, order))

    with app.test() as t:
        t.send(before, Order(7))
        task.send(1, 2, 3)
        t.run_until_idle()
        t.send(positional, Order(8))

    assert sorted(calls, key=str) == sorted([(0, Order(7)), (0, 1, (2, 3)), (0, Order(8))], key=str)


def test_send_many_gives_every_message_the_options(app: elsa.App, monkeypatch: pytest.MonkeyPatch) -> None:
    produced: list[tuple[str, list[elsa.Record]]] = []
    monkeypatch.setattr(app, "produce", lambda topic, records: produced.append((topic, list(records))))

    @app.handler("a")
    def handler(order: Order) -> None: ...

    @app.task(topic="b")
    def task(number: int) -> None: ...

    handler.send_many([Order(1), Order(2)], key=lambda order: str(order.id), headers={"h": "1"}, timestamp=5.0)
    handler.send_many([Order(3)], key="k", partition=4, topic="c")
    task.send_many([(1,), {"number": 2}], key="k", headers={"h": "1"}, timestamp=5.0)

    header = ("h", b"1")
    call = ("elsa-task", task.name.encode())
    assert produced == [
        ("a", [elsa.Record(b'{"id":%d}' % n, key=str(n), headers=[header], timestamp=5.0) for n in (1, 2)]),
        ("c", [elsa.Record(b'{"id":3}', key="k", headers=[], partition=4)]),
        ("b", [elsa.Record(b"[[%d],{}]" % n, key="k", headers=[header, call], timestamp=5.0) for n in (1, 2)]),
    ]


def test_send_many_refuses_one_id_for_all(app: elsa.App) -> None:
    @app.handler("a")
    def handler(order: Order) -> None: ...

    with pytest.raises(TypeError, match="send_many: id= would give every message the same id"):
        handler.send_many([Order(1)], id="x")


def test_an_annotation_that_cannot_be_resolved_is_named(app: elsa.App) -> None:
    def bill(order: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - the point of the test

    with pytest.raises(DeclarationError, match="Nowhere"):
        app.handler("a")(bill)


def test_a_task_is_a_plain_function(app: elsa.App) -> None:
    class Box:
        def handle(self, body: int) -> None: ...

    with pytest.raises(DeclarationError, match="a task is a plain function"):
        app.task(Box)
    with pytest.raises(DeclarationError, match="always JSON"):
        app.task(codec="msgpack")(lambda: None)


def test_default_names_skip_locals() -> None:
    def inner() -> None: ...

    assert default_name(inner) == f"{__name__}.test_default_names_skip_locals.inner"
