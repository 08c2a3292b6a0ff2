"""Lines for people and for machines, and the limit on repeated ones."""

from __future__ import annotations

import io
import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace

from elsa.context import _ACTIVE, Context
from elsa.message import Message, TopicPartition
from elsa.observe import logs
from elsa.observe.logs import RateLimit, setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("root_logger_restored")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def logger() -> logging.Logger:
    return logging.getLogger("shop.orders")


@pytest.fixture
def in_handler() -> Iterator[None]:
    site = SimpleNamespace(app=None, handler_of=lambda _: "shop.bill", group="billing", generation=1, is_stopping=False)
    message = Message("orders", 3, 7, None, b"")
    token = _ACTIVE.set(Context(site, [message], lambda raw: raw, attempt=2))
    yield
    _ACTIVE.reset(token)


def json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_for_machines_has_the_fields(logger: logging.Logger) -> None:
    stream = io.StringIO()
    setup("info", json_logs=True, stream=stream)

    logger.info("order %s billed", 4, extra={"event": "billed", "amount": 9.5, "who": {1}})

    (line,) = json_lines(stream)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "shop.orders",
        "message": "order 4 billed",
        "event": "billed",
        "amount": 9.5,
        "who": "{1}",
    }


@pytest.mark.usefixtures("in_handler")
def test_the_message_being_handled_stands_in_every_line(logger: logging.Logger) -> None:
    stream = io.StringIO()
    setup("info", json_logs=True, stream=stream)
    span = trace.NonRecordingSpan(trace.SpanContext(0xAB, 0xCD, is_remote=False))

    with trace.use_span(span):
        logger.info("inside")

    (line,) = json_lines(stream)
    assert (
        line.items()
        >= {
            "group": "billing",
            "topic": "orders",
            "partition": 3,
            "offset": 7,
            "handler": "shop.bill",
            "attempt": 2,
            "trace_id": f"{0xAB:032x}",
            "span_id": f"{0xCD:016x}",
        }.items()
    )


@pytest.mark.usefixtures("in_handler")
def test_fields_of_the_line_itself_win(logger: logging.Logger) -> None:
    stream = io.StringIO()
    setup("info", json_logs=True, stream=stream)

    logger.info("elsewhere", extra={"topic": "invoices"})

    assert json_lines(stream)[0]["topic"] == "invoices"


def test_an_exception_stays_on_one_line_for_machines(logger: logging.Logger) -> None:
    stream = io.StringIO()
    setup("info", json_logs=True, stream=stream)

    try:
        raise ValueError("no")
    except ValueError:
        logger.exception("failed", stack_info=True)

    (line,) = json_lines(stream)
    assert line["exception"].endswith("ValueError: no")
    assert line["stack"].startswith("Stack")


def test_a_line_for_people(logger: logging.Logger) -> None:
    stream = io.StringIO()
    setup("warning", stream=stream)

    logger.info("not shown")
    logger.warning("broker away", extra={"event": "away", "topic": "orders"})
    logger.error("failed", exc_info=ValueError("no"), stack_info=True)

    first, second, *rest = stream.getvalue().splitlines()
    assert first[12:] == " WARNING  shop.orders broker away (topic=orders)"
    assert second[12:] == " ERROR    shop.orders failed"
    assert rest[0] == "ValueError: no"


@pytest.mark.parametrize(
    ("environment", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_on_a_terminal_unless_refused(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *, is_coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    stream = Terminal()
    setup("info", stream=stream)

    logger.warning("broker away", extra={"topic": "orders"})

    assert ("\x1b[33m" in stream.getvalue()) == is_coloured
    assert ("\x1b" in stream.getvalue()) == is_coloured


def test_a_second_setup_replaces_the_first(logger: logging.Logger) -> None:
    first, second = io.StringIO(), io.StringIO()
    setup("info", stream=first)
    setup("info", stream=second)

    logger.info("once")

    assert not first.getvalue()
    assert second.getvalue().count("once") == 1


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="'loud' is none of debug, info"):
        setup("loud")


@pytest.fixture
def limited(clock: Any, logger: logging.Logger) -> Iterator[Callable[..., list[Any]]]:
    """`limited(*limits)` logs one line for each and returns how many were held before each that passed."""
    passed: list[Any] = []
    handler = logging.Handler()
    handler.emit = lambda record: passed.append(getattr(record, "repeated", 0))  # type: ignore[method-assign]  # a spy
    handler.addFilter(RateLimit(60.0, clock))
    logger.addHandler(handler)

    def log(*limits: Any) -> list[Any]:
        passed.clear()
        for limit in limits:
            logger.warning("broker away", extra={} if limit is None else {"limit": limit})
        return list(passed)

    yield log
    logger.removeHandler(handler)


def test_a_repeated_line_passes_once_a_minute_with_its_count(limited: Callable[..., list[Any]], clock: Any) -> None:
    assert limited("a", "a", "a") == [0]
    clock.steady += 59.9
    assert limited("a") == []
    clock.steady += 0.2
    assert limited("a", "a") == [3]


def test_what_was_held_back_and_never_came_again_is_told_later(
    logger: logging.Logger, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the process ends; with what surrounded it, not what surrounds the line that happens to come next."""
    stream = io.StringIO()
    handler = setup("info", json_logs=True, stream=stream)
    monkeypatch.setattr(handler, "_limit", RateLimit(60.0, clock))

    def away(offset: int) -> None:
        try:
            raise OSError("no route")
        except OSError:
            logger.warning("broker away", exc_info=True, extra={"limit": "away", "offset": offset})

    for offset in range(3):
        away(offset)
    clock.steady += 61
    logger.info("back")
    away(9)
    away(10)
    handler.close()

    lines = [(one["message"], one.get("offset"), one.get("repeated")) for one in json_lines(stream)]
    assert lines == [
        ("broker away", 0, None),
        ("broker away", 1, 2),
        ("back", None, None),
        ("broker away", 9, None),
        ("broker away", 10, 1),
    ]
    assert ["exception" in one for one in json_lines(stream)] == [True, False, False, True, False]


@pytest.mark.usefixtures("in_handler")
def test_a_message_with_an_id_and_a_task(logger: logging.Logger) -> None:
    stream = io.StringIO()
    setup("info", json_logs=True, stream=stream)
    context = _ACTIVE.get()
    assert context is not None
    context.messages[0] = Message("orders", 3, 7, None, b"", headers=(("elsa-id", b"one"), ("elsa-task", b"shop.mail")))

    logger.info("inside")

    assert json_lines(stream)[0].items() >= {"message_id": "one", "task": "shop.mail"}.items()


def test_in_setup_there_is_no_message_yet(logger: logging.Logger) -> None:
    stream = io.StringIO()
    setup("info", json_logs=True, stream=stream)
    site = SimpleNamespace(handler_of=lambda _: "shop.bill", group="billing", partition=TopicPartition("orders", 3))
    token = _ACTIVE.set(Context(site, [], lambda raw: raw, attempt=1))

    logger.info("setting up")
    _ACTIVE.reset(token)

    place = {"group": "billing", "topic": "orders", "partition": 3, "handler": "shop.bill"}
    assert json_lines(stream)[0].items() >= place.items()


def test_exporters_of_traces_say_the_same_once_a_minute_whatever_is_filled_in(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    handler = setup("info", json_logs=True, stream=stream)
    monkeypatch.setattr(handler, "_limit", RateLimit(60.0, clock))
    exporter = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")

    def away(seconds: float) -> None:
        exporter.warning("Transient error %s, retrying in %.2fs.", OSError(seconds), seconds)

    for seconds in (1.1, 2.2, 4.4):
        away(seconds)
    exporter.error("Failed to export %s batch", "span")
    clock.steady += 61
    away(1.3)

    lines = [(one["message"].partition(" ")[0], one.get("repeated")) for one in json_lines(stream)]
    assert lines == [("Transient", None), ("Failed", None), ("Transient", 2)]


def test_other_lines_and_lines_without_a_limit_pass(limited: Callable[..., list[Any]]) -> None:
    assert limited("a", "b", "a", None, None) == [0, 0, 0, 0]


def test_old_keys_are_forgotten(limited: Callable[..., list[Any]], clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_MAX_KEYS", 3)
    limited("a", "b", "c")
    clock.steady += 61
    limited("d")

    assert limited("d") == []
    assert limited("a") == [0]
