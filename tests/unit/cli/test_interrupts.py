"""Signals become one KeyboardInterrupt, and a second, later one ends the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from elsa import exits
from elsa.cli import interrupts
from elsa.cli.interrupts import interrupted_by_signals, stopped_by_signals

TWICE = """
import os, signal
from elsa.cli import interrupts
interrupts._SAME_SIGNAL_SECONDS = {seconds}
with interrupts.interrupted_by_signals():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGINT)
print("went on")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    with interrupted_by_signals(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)

    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("seconds", "code", "said"), [(-1, exits.FORCED, ""), (60, exits.OK, "went on\n")])
def test_the_second_one_ends_the_program_unless_it_is_the_same_ctrl_c(seconds: int, code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE.format(seconds=seconds)], capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout) == (code, said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_a_later_one_interrupts(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(number)

    with stopped_by_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.is_set()
        # terminal and process manager may each pass on the same ctrl-C
        os.kill(os.getpid(), number)
        monkeypatch.setattr(interrupts, "_SAME_SIGNAL_SECONDS", -1)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)

    assert signal.getsignal(number) is before
