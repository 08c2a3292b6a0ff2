from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

from elsa import exits
from elsa.worker.spec import WorkerSpec
from elsa.worker.supervisor import Supervisor

if TYPE_CHECKING:
    import pytest

    from elsa.worker.events import Event

NOWHERE = ["/nonexistent/python"]


def test_a_system_that_refuses_the_first_process_ends_the_supervisor() -> None:
    events: list[Event] = []
    made = Supervisor(WorkerSpec(target="shop:app"), command=NOWHERE, on_event=events.append)

    assert made.start().run() == exits.WORKER_FAILED
    assert [event.kind for event in events] == ["failed"]
    assert events[0].facts["error"] == "the system refused to start a process: No such file or directory"


def test_the_signals_are_given_back_at_the_end() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    Supervisor(WorkerSpec(target="shop:app"), command=NOWHERE).start().run()

    assert {number: signal.getsignal(number) for number in before} == before


def test_an_event_that_can_not_be_shown_costs_nothing_but_a_line(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Event) -> None:
        raise OSError("the terminal is gone")

    made = Supervisor(WorkerSpec(target="shop:app"), command=NOWHERE, on_event=fail)

    assert made.start().run() == exits.WORKER_FAILED
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [(logging.ERROR, "an event could not be shown")]


def test_stop_and_quiet_before_the_start_are_kept_and_may_be_repeated() -> None:
    made = Supervisor(WorkerSpec(target="shop:app"), command=["/bin/cat"])
    made.quiet()
    made.stop()
    made.stop()

    assert made.start().run() == exits.OK
    assert made.is_stopping


def test_a_supervisor_that_does_not_run_is_neither_ready_nor_answering() -> None:
    made = Supervisor(WorkerSpec(target="shop:app"))

    assert not made.is_ready
    assert not made.is_answering(0.01)
    assert made.questions.ask("scrape", 0.01) == {}
