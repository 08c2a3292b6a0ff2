"""Messages that are too old when their turn comes are not run: they are skipped and counted, or dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.middleware import age_limit, payload_limit
from elsa.observe.metrics import PrometheusObserver

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-expired")
    app.observer = PrometheusObserver()
    yield app
    app.stop()


def expired(app: elsa.App) -> float:
    assert isinstance(app.observer, PrometheusObserver)
    found = {name: samples for name, _, _, samples in app.observer.families()}
    return sum(value for _, _, value, _ in found.get("elsa_messages_expired_total", []))


@pytest.mark.parametrize("is_async", [False, True])
def test_a_message_whose_time_is_over_is_not_run(app: elsa.App, *, is_async: bool) -> None:
    seen: list[int] = []
    if is_async:

        @app.handler("t", retry=elsa.Retry(base=10, jitter=False))
        async def handle(body: int) -> None:
            seen.append(body)
            raise OSError(body)
    else:

        @app.handler("t", retry=elsa.Retry(base=10, jitter=False))
        def handle_sync(body: int) -> None:
            seen.append(body)
            raise OSError(body)

    with app.test(raise_errors=False) as t:
        app.send("t", 1, expires=15.0)
        app.send("t", 2, delay=1.0, expires=2.0)
        t.advance(100)

        # its second attempt at 10 s, not its third at 30 s; and the one behind it came too late
        assert seen == [1, 1]
        assert [one.reason for one in t.outcomes if one.outcome == "skipped"] == ["expired", "expired"]
        assert t.dead_letters() == []
        assert t.committed("t") == 2
    assert expired(app) == 2


def test_the_handler_says_that_they_are_dead_letters(app: elsa.App) -> None:
    @app.handler("t", on_expired="dead_letter", expires="1m")
    def handle(body: int, ctx: elsa.Context) -> None:
        raise elsa.RetryLater(70)

    with app.test() as t:
        t.send("t", 1)
        t.advance(80)

        (letter,) = t.dead_letters()
        assert letter.reason == "expired"
        assert letter.message.json() == 1
        assert letter.attempt == 1
        assert letter.error_message == "it is 70.0 s old, and 60 s are the limit"


def test_a_batch_runs_without_its_members_that_are_too_old(app: elsa.App) -> None:
    seen: list[list[int]] = []

    @app.handler("t", batch=3, batch_wait=20)
    def handle(bodies: list[int]) -> None:
        seen.append(bodies)

    with app.test() as t:
        app.send("t", 1)
        app.send("t", 2, expires=10)
        t.advance(15)
        app.send("t", 3)

        assert seen == [[1, 3]]
        assert t.committed("t") == 3


def test_a_batch_of_which_nothing_is_left_makes_no_call(app: elsa.App) -> None:
    @app.handler("t", batch=3, batch_wait=20)
    def handle(bodies: list[int]) -> None:
        pytest.fail("called")

    with app.test() as t:
        app.send("t", 1, expires=10)
        t.advance(30)

        assert t.committed("t") == 1


def test_a_task_expires_as_well(app: elsa.App) -> None:
    @app.task(topic="t", expires=5)
    def work(number: int) -> None:
        if number == 1:
            raise elsa.RetryLater(10)

    with app.test() as t:
        work.send(1)
        work.send(2)
        t.advance(20)

        assert [one.outcome for one in t.outcomes] == ["retried", "skipped", "skipped"]


@pytest.mark.parametrize("value", [0, -1, True, "soon", "0s"])
def test_a_lifetime_that_is_none_is_refused(app: elsa.App, value: Any) -> None:
    with pytest.raises(elsa.errors.DeclarationError, match="expires="):
        app.handler("t", expires=value)(lambda _: None)


def test_what_becomes_of_them_is_one_of_two_words(app: elsa.App) -> None:
    with pytest.raises(elsa.errors.DeclarationError, match=r'on_expired=.* is unknown\n  hint: use "skip" or "dead_le'):
        app.handler("t", on_expired="drop")(lambda _: None)


# -- the middlewares that are ready ------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("dead_letter", [False, True])
def test_messages_above_the_age_limit_are_not_run(app: elsa.App, *, is_async: bool, dead_letter: bool) -> None:
    seen: list[int] = []
    app.middleware(*age_limit("30s", dead_letter=dead_letter))
    if is_async:

        @app.handler("t", retry=elsa.Retry(base=40, max_delay=40, jitter=False))
        async def handle(body: int) -> None:
            seen.append(body)
            raise OSError(body)
    else:

        @app.handler("t", retry=elsa.Retry(base=40, max_delay=40, jitter=False))
        def handle_sync(body: int) -> None:
            seen.append(body)
            raise OSError(body)

    with app.test(raise_errors=False) as t:
        t.send("t", 1)
        t.advance(50)

        assert seen == [1]
        assert [letter.reason for letter in t.dead_letters()] == (["rejected"] if dead_letter else [])
        assert t.committed("t") == 1


@pytest.mark.parametrize("by", ["expires", "age_limit"])
def test_a_replayed_message_is_run_however_old_it_is(app: elsa.App, by: str) -> None:
    seen: list[int] = []
    if by == "age_limit":
        app.middleware(*age_limit("30s"))

    @app.handler("t", expires="30s" if by == "expires" else None, retry=elsa.Retry(base=40, max_delay=40, jitter=False))
    def handle(body: int) -> None:
        seen.append(body)
        raise OSError(body)

    with app.test(raise_errors=False) as t:
        t.send("t", 1, headers={"elsa-replayed": "1"})
        t.advance(90)

    assert seen == [1, 1, 1]


@pytest.mark.parametrize("skip", [False, True])
def test_bodies_above_the_payload_limit_are_not_run(app: elsa.App, *, skip: bool) -> None:
    seen: list[str] = []
    app.middleware(*payload_limit("1kB", skip=skip))

    @app.handler("t")
    def handle(body: bytes | None) -> None:
        seen.append(str(body))

    with app.test() as t:
        for value in (b"x" * 1024, b"x" * 1025, None):
            t.send("t", value)

        assert len(seen) == 2
        letters = t.dead_letters()
        assert [letter.error_message for letter in letters] == (
            [] if skip else ["its body has 1025 bytes, and 1024 are the limit"]
        )
        assert t.committed("t") == 3


def test_of_a_batch_only_what_is_above_the_limit_is_left_out(app: elsa.App) -> None:
    seen: list[list[str]] = []
    app.middleware(*payload_limit(10))

    @app.handler("t", batch=3)
    def handle(bodies: list[str]) -> None:
        seen.append(bodies)

    with app.test() as t:
        t.send_many("t", ["a", "b" * 20, "c"])
        t.advance(1)

        assert sorted(body for bodies in seen for body in bodies) == ["a", "c"]
        assert [letter.message.value for letter in t.dead_letters()] == [b"b" * 20]


@pytest.mark.parametrize(
    ("make", "value"),
    [(age_limit, "old"), (age_limit, 0), (payload_limit, "big"), (payload_limit, -1), (payload_limit, 0)],
)
def test_a_limit_that_is_none_is_refused(make: Any, value: Any) -> None:
    with pytest.raises(elsa.errors.DeclarationError, match=r"is not a (duration|size)"):
        make(value)
