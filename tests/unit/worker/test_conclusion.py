"""What follows from the outcome of one message, and that a closed partition waits for what is not confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.testing.clock import FakeClock
from elsa.worker.mailbox import Finished, Held

from .parts import Around, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Send:
    """A send whose confirmation is the test's."""


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-conclusion")
    yield app
    app.stop()


@pytest.fixture
def around() -> Around:
    return Around(clock=FakeClock())


def run(app: elsa.App, around: Around, raws: list[Any], work: Callable[[elsa.Context], Any], **options: Any) -> Worker:
    """Run these messages through a handler that does this."""
    given = {"retry": elsa.Retry(max_attempts=3, base=5, jitter=False), **options}

    @app.handler("t", **given)
    def handle(body: int, ctx: elsa.Context) -> Any:
        return work(ctx)

    worker = around.make(app)
    worker.put(raws)
    around.run(worker)
    return worker


def raises(error: BaseException) -> Callable[[Any], Any]:
    def work(_: Any) -> Any:
        raise error

    return work


def test_a_failure_waits_with_its_attempt_and_its_time(app: elsa.App, around: Around, raw: Any) -> None:
    worker = run(app, around, [raw(0, b"0")], raises(ValueError()))

    assert (worker.kept.attempts, worker.parked, worker.kept.failures) == ({0: 1}, 1, 1)
    assert around.dues == [around.clock.monotonic() + 5]
    assert around.mail[:-1] == []


def test_a_dead_letter_finishes_its_message_when_it_is_confirmed(app: elsa.App, around: Around, raw: Any) -> None:
    worker = run(app, around, [raw(0, b"0")], raises(elsa.Reject("bad")))
    worker.kept.attempts[0] = 2
    worker.close()
    ((message, outcome, settled),) = around.copies
    assert (outcome.reason, around.done, around.has_ended) == ("rejected", [], False)

    settled(message)
    assert (around.done, around.has_ended, worker.kept.attempts) == ([0], True, {})
    # it is no word of the handler that what it has held back is safe
    assert [mail.acknowledges for mail in around.mail if type(mail) is Finished] == [False]


def test_what_is_skipped_acknowledges_nothing_either(app: elsa.App, around: Around, raw: Any) -> None:
    run(app, around, [raw(0, b"0")], raises(elsa.Skip()))

    assert [(mail.offsets, mail.acknowledges) for mail in around.mail] == [([0], False)]


def test_continue_holds_and_ack_finishes(app: elsa.App, around: Around, raw: Any) -> None:
    run(app, around, [raw(0, b"0"), raw(1, b"1")], lambda ctx: elsa.ACK if ctx.offset else elsa.CONTINUE)

    assert [(type(mail), mail.offsets) for mail in around.mail] == [(Held, [0]), (Finished, [1])]


@pytest.mark.parametrize(
    ("end", "expected"),
    [(None, (Finished, True)), (elsa.CONTINUE, (Held, None)), (elsa.Skip(), (Finished, False))],
)
def test_sends_are_confirmed_before_the_message_is_over(
    app: elsa.App, around: Around, raw: Any, end: Any, expected: tuple[type, bool | None]
) -> None:
    def work(ctx: elsa.Context) -> Any:
        ctx.track(Send())  # type: ignore[arg-type]  # a stand-in
        if isinstance(end, Exception):
            raise end
        return end

    worker = run(app, around, [raw(0, b"0")], work)
    worker.close()
    assert around.mail == []
    message, _, settled, _ = around.sends[0]
    settled(message)

    mail, ended = around.mail
    assert (type(mail), getattr(mail, "acknowledges", None)) == expected
    assert mail.offsets == [0]
    assert ended.worker is worker


def test_sends_of_a_failed_call_are_not_waited_for(app: elsa.App, around: Around, raw: Any) -> None:
    def work(ctx: elsa.Context) -> None:
        ctx.track(Send())  # type: ignore[arg-type]  # a stand-in
        raise ValueError

    worker = run(app, around, [raw(0, b"0")], work)

    assert around.sends == []
    assert worker.parked == 1


def test_a_send_that_is_refused_is_a_failure_of_its_call(app: elsa.App, around: Around, raw: Any) -> None:
    def work(ctx: elsa.Context) -> None:
        ctx.track(Send())  # type: ignore[arg-type]  # a stand-in

    worker = run(app, around, [raw(0, b"0"), raw(1, b"1")], work, ordering="none")
    message, context, _, failed = around.sends[0]
    failed(message, OSError("refused"), context.attempt)
    assert (worker.kept.attempts, worker.parked, around.done) == ({0: 1}, 1, [])

    around.sends.clear()
    worker.unpark(around.clock.monotonic() + 5)
    around.run(worker)
    message, context, settled, _ = around.sends[0]
    assert context.attempt == 2
    settled(message)
    assert (around.done, worker.kept.attempts) == ([0], {})


def test_the_last_attempt_whose_send_is_refused_is_a_dead_letter(app: elsa.App, around: Around, raw: Any) -> None:
    def work(ctx: elsa.Context) -> None:
        ctx.track(Send())  # type: ignore[arg-type]  # a stand-in

    worker = run(app, around, [raw(0, b"0")], work, retry=None)
    message, context, _, failed = around.sends[0]
    failed(message, OSError("refused"), context.attempt)
    worker.close()
    assert not around.has_ended

    ((message, outcome, settled),) = around.copies
    assert (outcome.reason, str(outcome.error)) == ("exhausted", "refused")
    settled(message)
    assert (around.done, around.has_ended) == ([0], True)


def test_a_copy_that_nobody_can_write_any_more_lets_the_partition_go(app: elsa.App, around: Around, raw: Any) -> None:
    worker = run(app, around, [raw(0, b"0")], raises(elsa.Reject()))
    worker.close()
    worker.conclusion.give_up_settling()

    assert around.done == []
    assert around.has_ended


def test_memory_that_runs_out_in_a_confirmation_is_no_failure_of_the_message(
    app: elsa.App, around: Around, raw: Any
) -> None:
    def work(ctx: elsa.Context) -> None:
        ctx.track(Send())  # type: ignore[arg-type]  # a stand-in

    worker = run(app, around, [raw(0, b"0")], work)
    message, context, _, failed = around.sends[0]
    failed(message, MemoryError(), context.attempt)

    assert [type(mail.error) for mail in around.crashes] == [MemoryError]
    assert worker.closed
    assert around.has_ended
