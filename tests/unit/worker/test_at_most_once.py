"""`delivery="at_most_once"`: committed before it runs, so that nothing ever runs twice; a crash loses one slice."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import elsa
from elsa.errors import DeclarationError
from elsa.kafka.consumer import Committed
from elsa.message import TopicPartition
from elsa.worker import assigned
from elsa.worker.progress import encode

from .simulation import TOPIC, Broker, Member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from elsa.kafka.consumer import Commit

    Join = Callable[..., Member]

ZERO, ONE = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


class Ahead(Broker):
    """Commits are ahead of what is done, and never go back."""

    def commit(self, commits: Mapping[TopicPartition, Commit]) -> None:
        for where, commit in commits.items():
            before = self.commits.get(where)
            assert before is None or commit.offset >= before.offset
            self.commits[where] = Committed(commit.offset, commit.metadata)


@pytest.fixture
def broker() -> Ahead:
    broker = Ahead(2)
    for partition in range(2):
        for number in range(30):
            broker.produce(partition, b"%d" % (number % 5))
    return broker


@pytest.fixture
def join(broker: Ahead, monkeypatch: pytest.MonkeyPatch, simulated_time: None) -> Iterator[Join]:
    """`join(**fields)` makes a member that owns both partitions; slices are of ten messages."""
    monkeypatch.setattr(assigned, "SLICE_AT_ONCE", 10)
    made: list[Member] = []

    def make(**fields: Any) -> Member:
        member = member_of(broker, **fields)
        made.append(member)
        member.rebalance(assign=[0, 1])
        return member

    yield make
    for member in made:
        member.end()


def member_of(broker: Broker, **fields: Any) -> Member:
    given: dict[str, Any] = {
        "options": {"delivery": "at_most_once"},
        "retry": elsa.Retry(max_attempts=3, base=1, jitter=False),
    }
    member = Member(broker, **given | fields)
    member.consumer.most = 40
    return member


def begin(member: Member) -> None:
    """Everything begins that can, and is committed by then."""
    while member.begin():
        call = member.calls[-1]
        commit = member.broker.commits.get(call.worker.partition)
        assert commit is not None
        assert call.raw.offset() < commit.offset


def all_begin(member: Member) -> str:
    """What happens while the manager waits."""
    begin(member)
    return "finish"


def run(member: Member, rounds: int = 30) -> None:
    for _ in range(rounds):
        member.turn()
        begin(member)
        while member.calls:
            member.finish()


def starts(*members: Member) -> Counter[tuple[TopicPartition, int]]:
    return Counter(one for member in members for one in member.started)


@pytest.mark.parametrize("ordering", ["partition", "key", "none"])
def test_all_run_once_and_the_end_is_committed(join: Join, broker: Ahead, ordering: str) -> None:
    member = join(ordering=ordering)
    run(member)

    assert starts(member) == dict.fromkeys([(w, n) for w in (ZERO, ONE) for n in range(30)], 1)
    assert [broker.commits[where].offset for where in (ZERO, ONE)] == [30, 30]


def test_the_next_slice_is_committed_when_the_one_before_is_over(join: Join, broker: Ahead) -> None:
    member = join()
    member.turn()
    begin(member)
    assert broker.commits[ZERO].offset == 10
    for _ in range(5):
        member.turn()
        begin(member)
    assert broker.commits[ZERO].offset == 10


def test_what_was_taken_and_paused_runs_when_its_partition_goes(join: Join, broker: Ahead) -> None:
    """It is committed: nobody else would run it."""
    member = join(policy=all_begin)
    member.turn()
    begin(member)
    member.pause()
    for _ in range(3):
        member.turn()
        begin(member)
        while member.calls:
            member.finish()
    paused_at = len(member.started)
    member.rebalance(revoke=[0, 1])
    member.turn()

    committed = sum(commit.offset for commit in broker.commits.values())
    assert paused_at < committed
    assert sum(starts(member).values()) == len(starts(member)) == committed


def test_a_crash_loses_one_slice_at_most_and_nothing_runs_again(join: Join, broker: Ahead) -> None:
    member = join()
    member.turn()
    begin(member)
    member.finish()
    member.end()
    successor = join(name="another")
    run(successor)

    count = starts(member, successor)
    assert set(count.values()) == {1}
    assert all((where, n) in count for where in (ZERO, ONE) for n in range(10, 30))


@pytest.mark.parametrize("how", ["revoke", "stop"])
def test_what_was_taken_runs_before_its_partition_goes(join: Join, broker: Ahead, how: str) -> None:
    member = join(policy=all_begin)
    member.turn()
    begin(member)
    if how == "stop":
        member.stop()
    else:
        member.rebalance(revoke=[0, 1])
        member.turn()

    count = starts(member)
    for where in (ZERO, ONE):
        committed = broker.commits[where].offset
        assert committed == 10
        assert all(count[where, n] == 1 for n in range(committed))
    assert member.manager.assignment.owned == {}


def test_a_retry_waits_here_and_does_not_wait_when_the_partition_goes(join: Join, broker: Ahead) -> None:
    member = join(policy=all_begin, ordering="partition")
    member.turn()
    begin(member)
    index = next(i for i, call in enumerate(member.calls) if call.worker.partition == ZERO)
    member.finish(index, ValueError("no"))
    began = member.clock.monotonic()
    member.rebalance(revoke=[0])
    member.turn()

    assert member.clock.monotonic() - began < 1
    assert starts(member)[ZERO, 0] == 2
    assert all(starts(member)[ZERO, n] == 1 for n in range(1, 10))


def test_what_fails_when_the_partition_goes_is_a_dead_letter(join: Join, broker: Ahead) -> None:
    member = join()
    member.turn()
    begin(member)
    member.manager.assignment.close([ZERO])
    index = next(i for i, call in enumerate(member.calls) if call.worker.partition == ZERO)
    offset = member.calls[index].raw.offset()
    member.finish(index, ValueError("no"))

    # the stand-in of the settlement writes it down
    assert offset in broker.done[ZERO]
    assert starts(member)[ZERO, offset] == 1


def test_nothing_runs_while_its_commit_is_refused(join: Join, broker: Ahead) -> None:
    member = join()
    member.consumer.answers = [False, False]
    member.turn()
    begin(member)
    assert member.started == []
    run(member)

    assert set(starts(member).values()) == {1}
    assert len(member.started) == 60


def test_a_worker_that_crashes_goes_on_behind_what_it_had_taken(join: Join, broker: Ahead) -> None:
    member = join(ordering="partition")
    member.turn()
    begin(member)
    index = next(i for i, call in enumerate(member.calls) if call.worker.partition == ZERO)
    member.finish(index, SystemExit(1))
    while member.calls:
        member.finish()
    member.clock.advance(60)
    run(member)

    count = starts(member)
    assert set(count.values()) == {1}
    assert [n for n in range(30) if not count[ZERO, n]] == list(range(1, 10))


def test_what_a_former_owner_of_at_least_once_has_finished_stays_so(join: Join, broker: Ahead) -> None:
    """Offsets above the committed one that its metadata says are done."""
    text = encode(2, 25, [2, 3, 12], {})
    assert text
    broker.commits[ZERO] = Committed(2, text)
    member = join()
    run(member)

    ran = sorted(n for (where, n), _ in starts(member).items() if where == ZERO)
    assert ran == [2, 3, 12, 26, 27, 28, 29]
    assert broker.commits[ZERO].offset == 30


EVENTS = st.lists(
    st.sampled_from(["turn", "begin", "finish", "fail", "exit", "crash", "revoke", "assign", "lost", "refuse", "stop"]),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, ordering=st.sampled_from(["partition", "key", "none"]))
def test_in_any_order_of_events_nothing_runs_twice(events: list[str], ordering: str) -> None:
    broker = Ahead(2)
    for partition in range(2):
        for number in range(25):
            broker.produce(partition, b"%d" % (number % 3))
    members: list[Member] = []
    # at a tenth of its size it is met more often
    slices = pytest.MonkeyPatch()
    slices.setattr(assigned, "SLICE_AT_ONCE", 4)

    def fresh() -> Member:
        # a failure is final here, or runs of one message would be more than one
        member = member_of(broker, ordering=ordering, retry=elsa.Retry(max_attempts=1), name=f"one-{len(members)}")
        members.append(member)
        member.policy = all_begin
        member.rebalance(assign=[0, 1])
        return member

    member = fresh()
    lost = 0
    for event in events:
        owned = sorted(p.partition for p in member.manager.assignment.owned)
        if event == "turn":
            member.turn()
        elif event == "begin":
            begin(member)
        elif event in ("finish", "fail", "exit") and member.calls:
            member.finish(0, {"fail": ValueError("no"), "exit": SystemExit(1)}.get(event))
            lost += event == "exit"
        elif event == "refuse":
            member.consumer.answers.append(False)
        elif event in ("revoke", "lost") and owned:
            member.rebalance(**{event: owned[:1]})
            member.turn()
        elif event == "assign" and len(owned) < 2:
            member.rebalance(assign=[n for n in (0, 1) if n not in owned])
        elif event in ("crash", "stop"):
            if event == "stop":
                member.stop()
            member.end()
            lost += event == "crash"
            member = fresh()
    for held in range(2):
        if held not in [p.partition for p in member.manager.assignment.owned]:
            member.rebalance(assign=[held])
    run(member)
    member.clock.advance(100)
    run(member)
    member.end()
    slices.undo()

    count = starts(*members)
    assert set(count.values()) <= {1}
    if "lost" not in events and not lost:
        assert len(count) == 50


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"group": None}, "needs a group"),
        ({"retry": elsa.Retry(where="topic")}, "its copy could run twice"),
        ({"on_exhausted": "stop"}, "nothing can stop at it"),
    ],
)
def test_what_contradicts_it_is_refused(options: dict[str, Any], text: str) -> None:
    app = elsa.App("unit-at-most-once")
    with pytest.raises(DeclarationError, match=text):
        app.handler("t", delivery="at_most_once", **options)(lambda body: None)
    app.stop()


def test_a_long_retry_never_goes_to_a_topic() -> None:
    app = elsa.App("unit-at-most-once-auto")

    @app.handler("t", delivery="at_most_once", ordering="none")
    def handle(body: int, ctx: elsa.Context) -> None:
        if ctx.attempt == 1:
            raise elsa.RetryLater(60)

    with app.test(raise_errors=False) as t:
        t.send("t", 1)
        assert t.committed("t") == 1
        t.advance(60)
        assert [one.outcome for one in t.outcomes] == ["retried", "ok"]
