"""What a batch comes to: every member gets its own outcome, and none is lost with another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.errors import BatchError
from elsa.testing.clock import FakeClock

from .parts import Around

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.worker.partition import PartitionWorker


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-batches")
    yield app
    app.stop()


def run(
    app: elsa.App, raws: list[Any], handle: Callable[[list[int]], Any], *, turns: int = 1, **options: Any
) -> tuple[Around, PartitionWorker]:
    @app.handler("t", batch=10, batch_wait=0, **options)
    def store(bodies: list[int]) -> Any:
        return handle(bodies)

    around = Around(clock=FakeClock())
    worker = around.make(app)
    worker.put(raws)
    around.run(worker, turns=turns)
    return around, worker


def test_all_members_finish_together(app: elsa.App, raw: Any) -> None:
    around, _ = run(app, [raw(0, b"1"), raw(1, b"2")], lambda _: None)

    assert around.done == [0, 1]


def test_an_undecodable_member_dies_alone(app: elsa.App, raw: Any) -> None:
    seen: list[Any] = []
    around, _ = run(app, [raw(0, b"1"), raw(1, b"{"), raw(2, b"3")], seen.append)

    assert seen == [[1, 3]]
    assert around.done == [0, 2]
    assert [(offset, outcome.reason) for offset, outcome in around.outcomes if outcome.reason] == [(1, "decode")]


def test_a_batch_of_undecodable_members_makes_no_call(app: elsa.App, raw: Any) -> None:
    around, _ = run(app, [raw(0, b"{")], lambda _: pytest.fail("called"))

    assert [outcome.reason for _, outcome in around.outcomes] == ["decode"]


def test_ack_through_finishes_a_prefix_and_the_rest_comes_again(app: elsa.App, raw: Any) -> None:
    seen: list[list[int]] = []

    def handle(bodies: list[int]) -> Any:
        seen.append(bodies)
        return elsa.ack_through(13) if len(seen) == 1 else None

    around, _ = run(app, [raw(13, b"1"), raw(14, b"2")], handle, turns=5)

    assert seen == [[1, 2], [2]]
    assert around.done == [13, 14]


def test_an_offset_outside_the_batch_is_an_error(app: elsa.App, raw: Any) -> None:
    around, _ = run(app, [raw(13, b"1")], lambda _: elsa.ack_through(99), retry=None)

    assert "ack_through(99) for offsets 13 to 13" in str(around.outcomes[0][1].error)


def test_a_batch_error_finishes_what_came_before_its_index(app: elsa.App, raw: Any) -> None:
    def fail(bodies: list[int]) -> None:
        raise BatchError(1, ValueError("second"))

    around, worker = run(app, [raw(0, b"1"), raw(1, b"2"), raw(2, b"3")], fail)

    assert around.done == [0]
    assert around.kinds[-1] == (1, "retried")
    assert worker.kept.attempts == {1: 1}


@pytest.mark.parametrize("error", [elsa.Skip("not wanted"), RuntimeError("broken")])
def test_a_member_that_is_skipped_leaves_those_behind_it_to_run(app: elsa.App, raw: Any, error: Exception) -> None:
    seen: list[list[int]] = []

    def handle(bodies: list[int]) -> None:
        seen.append(bodies)
        if len(seen) == 1:
            raise BatchError(1, error)

    raws = [raw(offset, b"%d" % offset) for offset in range(4)]
    around, _ = run(app, raws, handle, turns=5, on_exhausted="skip", retry=elsa.Retry(max_attempts=1))

    assert seen == [[0, 1, 2, 3], [2, 3]]
    assert (1, "skipped") in around.kinds
    assert sorted(around.done) == [0, 1, 2, 3]


@pytest.mark.parametrize("ordering", ["partition", "key", "none"])
def test_a_batch_that_is_given_up_runs_its_members_singly(app: elsa.App, raw: Any, ordering: str) -> None:
    seen: list[list[int]] = []

    def fail(bodies: list[int]) -> None:
        seen.append(bodies)
        if 2 in bodies:
            raise ValueError(bodies)

    raws = [raw(offset, b"%d" % offset, key=b"k") for offset in (1, 2, 3)]
    around, _ = run(app, raws, fail, turns=9, retry=None, ordering=ordering)

    assert seen == [[1, 2, 3], [1], [2], [3]]
    assert around.done == [1, 3]
    assert [raw.offset() for raw, *_ in around.copies] == [2]


class TestByKey:
    """A batch has all its keys until it ends, so no key's order can break."""

    def test_messages_of_one_key_come_together_in_order(self, app: elsa.App, raw: Any) -> None:
        seen: list[list[int]] = []
        raws = [raw(offset, b"%d" % offset, key=key) for offset, key in enumerate([b"a", b"b", b"a", None, b"b"])]
        around, _ = run(app, raws, seen.append, ordering="key")

        assert seen == [[0, 1, 2, 3, 4]]
        assert sorted(around.done) == [0, 1, 2, 3, 4]

    def test_nothing_of_its_keys_runs_meanwhile(self, app: elsa.App, raw: Any) -> None:
        @app.handler("t", batch=2, batch_wait=0, ordering="key")
        def store(bodies: list[int]) -> None:
            """It is fine."""

        around = Around()
        worker = around.make(app)
        worker.put([raw(0, key=b"a"), raw(1, key=b"b"), raw(2, key=b"a"), raw(3, key=b"c"), raw(4, key=b"b")])
        first, second, third = (worker.begin(around.place) for _ in range(3))

        assert [[raw.offset() for raw in turn.running()] for turn in (first, second) if turn] == [[0, 2], [1, 4]]
        assert third is not None
        assert [raw.offset() for raw in third.running()] == [3]
        assert worker.begin(around.place) is None

    def test_a_batch_that_fails_as_a_whole_waits_as_a_whole(self, app: elsa.App, raw: Any) -> None:
        seen: list[list[int]] = []

        def fail(bodies: list[int]) -> None:
            seen.append(bodies)
            if len(seen) == 1:
                raise ValueError(bodies)

        raws = [raw(offset, b"%d" % offset, key=b"k%d" % (offset % 2)) for offset in range(4)]
        retry = elsa.Retry(base=5, jitter=False)
        around, worker = run(app, raws, fail, turns=9, retry=retry, ordering="key")
        assert seen == [[0, 1, 2, 3]]
        assert worker.kept.attempts == {0: 1, 1: 1, 2: 1, 3: 1}

        # a fresh message of another key does not wait, and is not counted as tried
        worker.put([raw(4, b"4", key=b"new")])
        around.run(worker)
        assert seen[1:] == [[4]]

        worker.unpark(around.clock.monotonic() + 5)
        around.run(worker)
        assert seen[2:] == [[0, 1, 2, 3]]
        assert sorted(around.done) == [0, 1, 2, 3, 4]
        assert worker.kept.attempts == {}

    def test_a_member_that_is_to_blame_holds_its_key_only(self, app: elsa.App, raw: Any) -> None:
        seen: list[list[int]] = []

        def fail(bodies: list[int]) -> None:
            seen.append(bodies)
            if len(seen) == 1:
                raise BatchError(1, ValueError("second"))

        raws = [raw(offset, b"%d" % offset, key=key) for offset, key in enumerate([b"a", b"b", b"a", b"b", b"c"])]
        around, worker = run(app, raws, fail, turns=9, retry=elsa.Retry(base=5, jitter=False), ordering="key")

        assert seen == [[0, 1, 2, 3, 4], [2, 4]]
        worker.unpark(around.clock.monotonic() + 5)
        around.run(worker)
        # what was tried before is not tried again in new company
        assert seen[2:] == [[1], [3]]
        assert sorted(around.done) == [0, 1, 2, 3, 4]


def test_a_batch_waits_to_fill_up(app: elsa.App, raw: Any) -> None:
    seen: list[list[int]] = []

    @app.handler("t", batch=3, batch_wait=0.5)
    def store(bodies: list[int]) -> None:
        seen.append(bodies)

    clock = FakeClock()
    around = Around(clock=clock)
    worker = around.make(app)
    worker.put([raw(0, b"0")])
    around.run(worker)
    assert seen == []
    assert around.dues == [clock.monotonic() + 0.5]

    worker.put([raw(1, b"1"), raw(2, b"2")])
    around.run(worker)
    assert seen == [[0, 1, 2]]

    worker.put([raw(3, b"3")])
    around.run(worker)
    worker.unpark(clock.monotonic() + 0.6)
    around.run(worker)
    assert seen == [[0, 1, 2], [3]]
