"""The only way into a group manager's thread."""

from __future__ import annotations

from elsa.worker.mailbox import Mailbox, Quiet, Stop


def test_mail_comes_out_in_order_and_all_at_once() -> None:
    mailbox = Mailbox()
    mailbox.put(Quiet())
    mailbox.put(Stop(1.0, leave=True))

    assert mailbox.drain() == [Quiet(), Stop(1.0, leave=True)]
    assert mailbox.drain() == []


def test_waiting_ends_with_the_first_mail() -> None:
    mailbox = Mailbox()
    mailbox.put(Quiet())

    assert mailbox.wait(60) == [Quiet()]
    assert mailbox.wait(0) == []
