from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.errors import DeclarationError
from elsa.worker import readiness
from elsa.worker.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "ASK_SECONDS", 0.01)


def test_a_hook_says_whether_what_it_looks_at_is_there() -> None:
    answers: Iterator[bool] = iter([True, False])
    asked, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def database() -> bool:
        asked.release()
        assert go_on.acquire(timeout=60)
        return next(answers)

    found = Readiness([database])
    assert not found.checks()[0].ok
    found.start()
    for expected in (True, False):
        assert asked.acquire(timeout=60)
        before = found._answers.get(0)
        go_on.release()
        while found._answers.get(0) == before:
            pass
        assert found.checks()[0].ok is expected
        assert found.checks()[0].about.endswith("database")
    found._ended.set()
    go_on.release()
    found.stop()


def test_a_hook_that_raises_says_no_and_its_error_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def database() -> bool:
        raise ConnectionError("postgres://ann:tiger@db")

    assert not Readiness._ask(database)
    assert "a readiness hook failed" in caplog.text


def test_an_answer_that_is_too_old_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    calls = threading.Semaphore(0)

    def hangs() -> bool:
        calls.release()
        return released.wait(60)

    found = Readiness([lambda: True, hangs])
    found.start()
    assert calls.acquire(timeout=60)
    assert [check.ok for check in found.checks()] == [True, False]
    monkeypatch.setattr(readiness, "ANSWER_SECONDS", -1.0)
    assert [(check.ok, check.hint) for check in found.checks()] == [(False, "the hook does not return")] * 2
    released.set()
    found.stop()


def test_without_hooks_there_is_nothing_to_start_or_to_check() -> None:
    found = Readiness([])
    found.start()
    found.stop()

    assert found.checks() == []


def test_an_app_takes_hooks_by_a_decorator() -> None:
    app = elsa.App("readiness-hooks")

    @app.readiness
    def database() -> bool:
        return True

    async def later() -> bool:
        return True

    assert app.hooks["readiness"] == [database]
    with pytest.raises(DeclarationError, match="readiness hook later is async"):
        app.readiness(later)
    app.stop()
