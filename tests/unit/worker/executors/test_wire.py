"""What a worker process and its children say to each other: messages, errors and results as they were."""

from __future__ import annotations

import pickle
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.errors import ElsaError, HandlerResultError, RemoteError
from elsa.worker.executors.wire import Call, End, Failure, Line, Received, pickled_result

if TYPE_CHECKING:
    from collections.abc import Iterator


class Awkward(Exception):
    """Cannot be made from its own text."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.one = one


class Sealed(Awkward):
    """Cannot be pickled, and has no text."""

    def __reduce__(self) -> Any:
        raise TypeError("this stays here")

    def __str__(self) -> str:
        raise AttributeError("no text")


class Busy(OSError):
    """Another layout in memory than most errors have."""

    def __init__(self, shop: str, *, since: float) -> None:
        super().__init__(f"{shop} is busy")
        self.since = since


@pytest.fixture
def lines() -> Iterator[tuple[Line, Line]]:
    left, right = socket.socketpair()
    ends = Line(left.detach()), Line(right.detach())
    yield ends
    for end in ends:
        end.close()


def come_back(error: BaseException) -> BaseException:
    """An error that was raised in a child, as its parent sees it."""
    try:
        raise error
    except BaseException as raised:
        failure: Failure = pickle.loads(pickle.dumps(Failure.of(raised)))
    return failure.error()


def test_a_message_has_everything_that_the_engine_asks_for(raw: Any) -> None:
    message = raw(7, b"v", topic="orders", partition=3, key=b"k", headers=[("a", b"1")], timestamp=1_500)
    found = Received(pickle.loads(pickle.dumps(Received.fields(message))))

    assert (found.topic(), found.partition(), found.offset()) == ("orders", 3, 7)
    assert (found.key(), found.value(), found.headers()) == (b"k", b"v", [("a", b"1")])
    assert (found.timestamp(), found.leader_epoch()) == ((1, 1_500), None)


def test_an_error_that_can_be_handed_over_is_the_same_and_shows_where_it_was_raised() -> None:
    found = come_back(ValueError("plain", 3))

    assert type(found) is ValueError
    assert found.args == ("plain", 3)
    assert isinstance(found.__cause__, RemoteError)
    assert "in come_back" in str(found.__cause__)


def test_what_a_handler_asks_for_comes_back_as_it_was() -> None:
    later = come_back(elsa.RetryLater(5, "busy"))
    batch = come_back(elsa.BatchError(3, ValueError("this one")))

    assert isinstance(later, elsa.RetryLater)
    assert (later.delay, later.reason, str(later)) == (5, "busy", "busy")
    assert isinstance(batch, elsa.BatchError)
    assert (batch.index, repr(batch.error)) == (3, "ValueError('this one')")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Awkward(1, 2), "1 and 2"),
        (Sealed(1, 2), "Sealed, whose text cannot be made (AttributeError)"),
        (Busy("ann's", since=1.0), "ann's is busy"),
    ],
)
def test_one_that_cannot_be_made_again_keeps_its_name_its_text_and_its_class(error: Exception, text: str) -> None:
    """Retry policies ask for the class, metrics and dead letters for the name."""
    found = come_back(error)

    assert isinstance(found, type(error))
    assert isinstance(found, RemoteError)
    assert (type(found).__module__, type(found).__qualname__) == (type(error).__module__, type(error).__qualname__)
    assert str(found) == text
    assert elsa.Retry(ignore=(type(error),)).decide(found, 1, None).reason == "rejected"


def test_one_whose_class_is_not_here_keeps_its_name() -> None:
    found = Failure(None, "nowhere", "Outer.Inner", "gone", "trace").error()

    assert isinstance(found, ElsaError)
    assert (type(found).__module__, type(found).__qualname__, str(found)) == ("nowhere", "Outer.Inner", "gone")


def test_a_result_goes_over_and_one_that_cannot_is_refused() -> None:
    assert End(pickled_result({"a": (1,)}, "shop.bill")).result() == {"a": (1,)}
    assert End(pickled_result(None, "shop.bill")).result() is None
    assert End(pickled_result(elsa.ack_through(3), "shop.bill")).result() == elsa.ack_through(3)
    with pytest.raises(
        HandlerResultError, match=r"shop\.bill returned a function that cannot be handed to another process"
    ):
        pickled_result(lambda: None, "shop.bill")


def test_an_end_with_a_failure_raises_it() -> None:
    with pytest.raises(ValueError, match="plain"):
        End(failure=Failure.of(ValueError("plain"))).result()


def test_messages_arrive_whole_and_in_order_from_several_threads(lines: tuple[Line, Line]) -> None:
    ours, theirs = lines

    def beat(which: int) -> None:
        for number in range(200):
            theirs.send("beat", (which, number))

    threads = [threading.Thread(target=beat, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    found = [ours.receive() for _ in range(600)]
    for thread in threads:
        thread.join()

    assert {kind for kind, _ in found} == {"beat"}
    for which in range(3):
        assert [number for _, (one, number) in found if one == which] == list(range(200))
    assert not ours.has_news(0)


def test_an_end_that_is_gone_is_news_and_then_an_error(lines: tuple[Line, Line]) -> None:
    ours, theirs = lines
    theirs.send("call", Call([], "g", 1, 1))
    theirs.close()
    assert ours.has_news(None)
    assert ours.receive() == ("call", Call([], "g", 1, 1))
    assert ours.has_news(None)

    with pytest.raises(EOFError):
        ours.receive()
