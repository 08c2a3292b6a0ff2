from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from elsa.cli.supervising import Listener
from elsa.config import load
from elsa.worker.events import Event
from tests.unit.cli.supervisors import BANNER, Stub

if TYPE_CHECKING:
    import pytest


def listen(**settings: Any) -> tuple[Listener, Any]:
    listener = Listener(load(settings, env={}).settings)
    made = Stub.__new__(Stub)
    made.processes, made.is_stopping, made.restarts = 2, False, {}
    return listener, made


def hello() -> Event:
    return Event("hello", logging.DEBUG, "worker process loaded the app", {"banner": BANNER, "settings": {}})


def test_the_banner_is_shown_once_and_events_before_the_logs_are_kept(
    stub: type[Stub], capsys: pytest.CaptureFixture[str]
) -> None:
    listener, made = listen()
    listener.take(hello())
    assert capsys.readouterr().err == ""
    listener.attach(made)
    listener.take(hello())

    assert capsys.readouterr().err.count("elsa 0.1.0 worker shop") == 1


def test_with_json_logs_the_banner_is_one_line_of_json(stub: type[Stub], capsys: pytest.CaptureFixture[str]) -> None:
    listener, made = listen(json_logs=True)
    listener.attach(made)
    listener.take(hello())
    line = json.loads(capsys.readouterr().err)

    assert line["event"] == "worker_started"
    assert line["worker"]["handlers"][0]["name"] == "shop.bill"
    assert line["worker"]["processes"] == 2


def test_a_failed_start_is_told_in_the_processs_own_words(stub: type[Stub], capsys: pytest.CaptureFixture[str]) -> None:
    listener, made = listen()
    listener.attach(made)
    text = "there is no module 'shop'\n  hint: did you mean 'shops'?"
    listener.take(Event("failed", logging.ERROR, "a worker process could not start", {"worker": 0, "error": text}))

    assert capsys.readouterr().err == f"error: {text}\n"
