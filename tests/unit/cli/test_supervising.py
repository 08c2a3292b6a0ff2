from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from elsa.cli.supervising import Listener, summary
from elsa.config import load
from elsa.worker.events import Event
from tests.unit.cli.supervisors import BANNER, Stub

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_reload_names_the_files_in_one_line(
    stub: type[Stub], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    listener, made = listen()
    listener.attach(made)
    files = [str(tmp_path / "shop.py")]
    listener.take(Event("reloading", logging.INFO, "files have changed, reloading", {"files": files}))
    (line,) = capsys.readouterr().err.splitlines()

    assert line.endswith("reloading: shop.py changed")


def test_a_reload_in_json_has_every_path(stub: type[Stub], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    listener, made = listen(json_logs=True)
    listener.attach(made)
    files = [str(tmp_path / name) for name in ("a.py", "b.py", "c.py", "d.py")]
    listener.take(Event("reloading", logging.INFO, "files have changed, reloading", {"files": files}))
    line = json.loads(capsys.readouterr().err)

    assert (line["event"], line["files"]) == ("reloading", files)
    assert line["message"] == "reloading: a.py, b.py and 2 more changed"


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a.py"], "a.py"),
        (["a.py", "b.py", "c.py"], "a.py, b.py, c.py"),
        (["../a.py", "in/b.py"], "{up}/a.py, in/b.py"),
    ],
)
def test_files_are_named_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)

    assert summary([str((tmp_path / name).resolve()) for name in names]) == text.format(up=tmp_path.parent)


def test_code_that_can_not_be_run_is_told_in_its_own_words_and_what_is_waited_for(
    stub: type[Stub], capsys: pytest.CaptureFixture[str]
) -> None:
    listener, made = listen()
    listener.attach(made)
    listener.take(Event("broken", logging.ERROR, "the code can not be run", {"error": "SyntaxError: '(' was never"}))

    assert capsys.readouterr().err == (
        "error: SyntaxError: '(' was never\n"
        "waiting for a change of the code; no message is handled until then, ctrl-C ends it\n"
    )


def test_the_banner_comes_again_when_the_new_code_has_other_handlers(
    stub: type[Stub], capsys: pytest.CaptureFixture[str]
) -> None:
    listener, made = listen()
    listener.attach(made)
    listener.take(hello())
    capsys.readouterr()
    fewer = Event("hello", logging.DEBUG, "", {"banner": {**BANNER, "handlers": []}, "settings": {}})
    counted = [{**handler, "partitions": 6} for handler in BANNER["handlers"]]
    same = Event("hello", logging.DEBUG, "", {"banner": {**BANNER, "handlers": counted}, "settings": {}})
    listener.take(same)
    assert capsys.readouterr().err == ""
    listener.take(fewer)
    listener.take(fewer)
    more = {**BANNER, "handlers": [], "schedules": [{"name": "s", "text": "every 5 s"}]}
    listener.take(Event("hello", logging.DEBUG, "", {"banner": more, "settings": {}}))

    assert capsys.readouterr().err.count("elsa 0.1.0 worker shop") == 2
