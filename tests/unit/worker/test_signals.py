from __future__ import annotations

import os
import pty
import select
import signal

from elsa.worker.signals import Signals


def test_signals_are_collected_in_order_and_wake_whoever_waits() -> None:
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        readable, _, _ = select.select([signals], [], [], 30)

        assert readable == [signals]
        assert signals.take() == [signal.SIGTERM, signal.SIGHUP]
        assert signals.take() == []
        assert select.select([signals], [], [], 0)[0] == []


def test_a_wake_up_brings_no_signal() -> None:
    with Signals() as signals:
        signals.wake()

        assert select.select([signals], [], [], 30)[0] == [signals]
        assert signals.take() == []
    signals.wake()  # harmless when it is over


def test_without_a_terminal_none_is_lost() -> None:
    signals = Signals()
    signals._terminal = None
    with signals:
        assert not signals.lost_its_terminal()


def test_a_terminal_that_was_closed_is_noticed() -> None:
    master, slave = pty.openpty()
    with Signals() as signals:
        signals._terminal = slave
        os.close(master)

        assert signals.lost_its_terminal()
    os.close(slave)
