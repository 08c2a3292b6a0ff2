"""Replaying and dropping: each dead letter once, whatever interrupts a run at whatever moment."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elsa.dead_letters import marks as marks_module
from elsa.dead_letters import run as run_module
from elsa.dead_letters.copies import Edit
from elsa.dead_letters.destinations import Destination, NoWayBack
from elsa.dead_letters.filters import Filter
from elsa.errors import (
    AuthorizationFailed,
    BrokerUnavailable,
    MessageTooLarge,
    TransactionAborted,
    TransactionFenced,
    UnknownTopic,
)

from .world import RETRY, Clock, Killed, Producer, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.dead_letters.letter import DeadLetter
    from elsa.dead_letters.run import Result

HANDLERS = ("bill", "mail", "pack")
BILLS = Filter(handlers=("bill",))


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    """Transactions of three messages, records of four offsets: so that a few dead letters need several of each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "MOST_LETTERS", 3)
        patch.setattr(marks_module, "SPAN", 4)
        yield


def world(*handlers: str, partition: int = 0) -> World:
    made = World()
    for offset, handler in enumerate(handlers):
        made.add(partition, offset, handler)
    return made


def values(made: World) -> list[str]:
    return [(value or b"").decode() for _, _, value in made.copies]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    made = World()
    for partition in range(draw(st.integers(1, 2))):
        offset = 0
        for handler, gap in draw(st.lists(st.tuples(st.sampled_from(HANDLERS), st.integers(1, 3)), max_size=9)):
            offset += gap - 1
            made.add(partition, offset, handler)
            offset += 1
    return made


RUNS = st.lists(
    st.tuples(
        st.sets(st.sampled_from(HANDLERS), max_size=2),  # none: all
        st.one_of(st.none(), st.integers(1, 4)),  # limit
        st.one_of(st.none(), st.integers(0, 20)),  # steps until it is interrupted
        st.sampled_from([Killed(), BrokerUnavailable("away"), TransactionAborted("again")]),
        st.booleans(),  # whether a commit that fails is carried out
        st.booleans(),  # whether it is a drop
    ),
    max_size=6,
)


@settings(deadline=None)
@given(worlds(), RUNS, st.data())
def test_each_one_is_handled_once_however_often_runs_are_interrupted(
    made: World, runs: list[tuple[set[str], int | None, int | None, BaseException, bool, bool]], data: st.DataObject
) -> None:
    dropped: set[bytes] = set()
    for handlers, limit, steps, failure, commits_anyway, is_drop in runs:
        before = made.handled()
        made.steps, made.failure, made.commits_anyway = steps, failure, commits_anyway
        ways: dict[str, Any] = {"destination": None} if is_drop else {}
        try:
            made.run(Filter(handlers=tuple(handlers)), limit=limit, **ways)
        except (Killed, BrokerUnavailable, TransactionAborted):
            pass
        else:
            # the model: the first `limit` of those that are open and meant
            meant = [m for p in sorted(made.log) for m in made.log[p] if m.value not in before]
            meant = [m for m in meant if not handlers or m.headers[0][1] in {h.encode() for h in handlers}]
            assert made.handled() == before | {m.value for m in meant[:limit]}
        dropped |= made.handled() - before if is_drop else set()
        copied = Counter(value for _, _, value in made.copies)
        assert set(copied) | dropped == made.handled()
        assert set(copied.values()) <= {1}
        is_growing: bool = data.draw(st.booleans())
        if made.log and is_growing:
            partition = data.draw(st.sampled_from(sorted(made.log)))
            made.add(partition, made.ends[partition] + data.draw(st.integers(0, 2)))
    made.steps = None
    last = made.run()

    assert made.handled() == {m.value for messages in made.log.values() for m in messages}
    assert set(Counter(value for _, _, value in made.copies).values()) <= {1}
    assert not last.done or all(marks.base == made.ends[partition] for partition, marks in made.marks().items())


@settings(deadline=None)
@given(worlds(), st.data())
def test_what_retention_takes_away_is_passed(made: World, data: st.DataObject) -> None:
    made.run(BILLS)
    for partition, end in made.ends.items():
        made.lows[partition] = data.draw(st.integers(0, end))
    made.copies.clear()
    made.run()

    expected = [
        m.value
        for p in made.log
        for m in made.log[p]
        if m.offset >= made.lows[p] and ("elsa-handler", b"bill") not in m.headers
    ]
    assert [value for _, _, value in made.copies] == expected


def test_copies_go_where_the_destination_says_with_edited_headers() -> None:
    made = world("bill")
    seen: list[Any] = []
    produce = Producer.produce

    def spy(self: Producer, topic: str, value: bytes | None, **options: Any) -> None:
        seen.append((topic, options.get("headers")))
        produce(self, topic, value, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Producer, "produce", spy)
        result = made.run(destination=lambda _: Destination("elsewhere", None), edit=Edit(set=(("a", b"1"),)))

    assert made.copies == [("elsewhere", None, b"0:0")]
    assert seen[0] == ("elsewhere", [("elsa-origin", b"orders:0:0"), ("a", b"1"), ("elsa-replayed", b"1")])
    assert (result.done, result.targets, result.matched) == (1, {"elsewhere": 1}, 1)


def test_a_second_run_finds_nothing_and_says_nothing_new() -> None:
    made = world("bill", "mail", "bill")
    made.run(BILLS)
    ledger = list(made.ledger)
    result = made.run(BILLS)

    assert (result.done, result.matched) == (0, 0)
    assert made.ledger == ledger


def test_again_means_those_that_were_handled_too() -> None:
    made = world("bill", "mail")
    made.run(BILLS)
    result = made.run(BILLS, again=True)

    assert values(made) == ["0:0", "0:0"]
    assert result.done == 1
    assert made.handled() == {b"0:0"}


def test_a_dry_run_counts_and_changes_nothing() -> None:
    made = world("bill", "mail", "bill", "bill", "bill")
    result = made.run(BILLS, is_dry=True, limit=3)

    assert (result.done, result.is_dry, result.targets) == (3, True, {RETRY: 3})
    assert (made.copies, made.ledger) == ([], [])


def test_what_has_no_way_back_stays_open_and_is_counted_by_reason() -> None:
    made = world("bill", "mail", "bill")

    def destination(one: DeadLetter) -> Destination:
        if one.handler == "mail":
            raise NoWayBack("nobody is there")
        return Destination(RETRY, 0)

    result = made.run(destination=destination)

    assert (result.done, result.refused) == (2, {"nobody is there": 1})
    assert made.handled() == {b"0:0", b"0:2"}


def test_those_without_a_way_back_do_not_count_against_the_limit() -> None:
    made = world("mail", "mail", "bill", "bill")

    def destination(one: DeadLetter) -> Destination:
        if one.handler == "mail":
            raise NoWayBack("nobody is there")
        return Destination(RETRY, 0)

    assert made.run(destination=destination, limit=1).done == 1
    assert values(made) == ["0:2"]


def refusing(made: World, errors: dict[str, Any], **options: Any) -> Result:
    """A run whose broker refuses messages by `partition:offset`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Producer, "__init__", _with(errors, Producer.__init__))
        return made.run(**options)


def _with(errors: dict[str, Any], init: Any) -> Any:
    def made(self: Producer, world: World) -> None:
        init(self, world)
        self.refuses = errors

    return made


def test_one_that_the_broker_finds_too_large_does_not_hold_the_others_up() -> None:
    made = world("bill", "bill", "bill", "bill")
    result = refusing(made, {"0:1": MessageTooLarge("too large for it\n  hint: smaller")})

    assert values(made) == ["0:0", "0:2", "0:3"]
    assert result.refused == {"too large for it": 1}
    assert made.handled() == {b"0:0", b"0:2", b"0:3"}


def test_who_takes_a_new_producer_after_a_refusal_ends_if_another_one_was_there_meanwhile() -> None:
    made = world("bill", "bill", "bill")
    close = Producer.close
    runs: list[Result] = []

    def overtake(self: Producer) -> None:
        close(self)
        if not runs:
            runs.append(made.run(BILLS, limit=1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Producer, "close", overtake)
        with pytest.raises(TransactionFenced, match="another one has begun"):
            refusing(made, {"0:1": MessageTooLarge("too large for it")})

    assert [run.done for run in runs] == [1]
    assert values(made) == ["0:0"]


def test_one_that_the_client_finds_too_large_does_not_hold_the_others_up() -> None:
    made = world("bill", "bill")
    produce = Producer.produce

    def strict(self: Producer, topic: str, value: bytes | None, **options: Any) -> None:
        if options.get("mark") == "0:0":
            raise MessageTooLarge("too large to send")
        produce(self, topic, value, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Producer, "produce", strict)
        result = made.run()

    assert values(made) == ["0:1"]
    assert result.refused == {"too large to send": 1}


@pytest.mark.parametrize("error", [AuthorizationFailed("no WRITE"), UnknownTopic("deleted meanwhile")])
def test_what_will_not_change_ends_the_run(error: Exception) -> None:
    made = world("bill")
    with pytest.raises(type(error), match=str(error)):
        refusing(made, {"0:0": error})

    assert made.copies == []


def test_a_missing_right_that_only_the_transaction_knows_names_the_topics() -> None:
    made = world("bill")
    made.steps, made.failure = 0, TransactionAborted("not allowed", code="TOPIC_AUTHORIZATION_FAILED")
    with pytest.raises(AuthorizationFailed, match=rf"grant WRITE on orders.billing.dlq-handled, {RETRY}"):
        made.run()


def test_a_transaction_that_is_aborted_is_made_again() -> None:
    made = world("bill", "bill")
    made.failure = TransactionAborted("a moment")
    failing = iter([False, True, False, True])
    made.step = lambda: next(failing, False)  # type: ignore[method-assign]  # two steps fail

    assert made.run().done == 2
    assert values(made) == ["0:0", "0:1"]


def test_a_transaction_that_is_always_aborted_is_given_up() -> None:
    made = world("bill")
    made.steps, made.failure = 0, TransactionAborted("never")
    with pytest.raises(TransactionAborted):
        made.run()

    assert made.copies == []


def test_who_is_overtaken_is_told_and_does_nothing_any_more() -> None:
    made = world(*["bill"] * 6)
    told: list[int] = []

    def overtake(result: Result) -> None:
        told.append(result.done)
        if len(told) == 1:
            made.run()

    with pytest.raises(TransactionFenced, match="another one has begun to replay or drop dead letters") as caught:
        made.run(progress=overtake)

    assert "what is done is not done twice" in str(caught.value)
    assert sorted(values(made)) == [f"0:{offset}" for offset in range(6)]


def test_a_commit_without_an_answer_is_uncertain() -> None:
    made = world("bill", "bill")
    made.steps, made.failure = 4, BrokerUnavailable("away")
    told: list[Result] = []
    with pytest.raises(BrokerUnavailable):
        made.run(progress=told.append)

    assert (told[-1].done, told[-1].uncertain) == (0, 2)


def test_a_stop_ends_it_before_the_next_transaction() -> None:
    made = world(*["bill"] * 9)
    stop = threading.Event()
    result = made.run(stop=stop, progress=lambda _: stop.set())

    assert (result.done, result.is_interrupted) == (3, True)
    assert len(made.handled()) == 3


def test_a_stop_ends_the_reading_and_does_not_take_the_rest_for_passed() -> None:
    made = world("bill", *["mail"] * 5, "bill")
    stop = threading.Event()
    stream = made.stream

    def interrupted(starts: Any, ends: Any) -> Any:
        for count, message in enumerate(stream(starts, ends)):
            if count == 4:
                stop.set()
            yield message

    made.stream = interrupted  # type: ignore[method-assign]  # sets the stop on its way
    result = made.run(BILLS, stop=stop)

    assert (result.done, result.is_interrupted) == (0, True)
    assert made.handled() == set()


class Waiter(threading.Event):
    """A stop that nobody sets, on which waiting moves the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(round(timeout or 0, 3))
        self.clock.time += timeout or 0
        return False


def test_a_rate_spreads_the_transactions() -> None:
    made = world(*["bill"] * 6)
    clock = Clock()
    stop = Waiter(clock)
    made.run(rate=4.0, stop=stop, clock=clock)

    # two at once are half a second's worth
    assert [wait for wait in stop.waits if wait] == [0.5, 0.5]


def test_a_slow_rate_sends_them_one_by_one() -> None:
    made = world("bill", "bill", "bill")
    clock = Clock()
    stop = Waiter(clock)
    made.run(rate=0.1, stop=stop, clock=clock)

    assert [wait for wait in stop.waits if wait] == [10.0, 10.0]
