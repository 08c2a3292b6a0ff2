"""Sends that are put off or that expire: what may be said, and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa import headers as names
from elsa.delays import sending
from elsa.errors import UnknownTopic
from elsa.partitioners import md5
from elsa.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_700_000_000.0


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-sending")
    yield app
    app.stop()


def timing(**options: Any) -> sending.Timing | None:
    found = sending.timing(options, FakeClock(NOW))
    assert not options.keys() & set(sending.OPTIONS)
    return found


@pytest.mark.parametrize(
    ("given", "due", "expires"),
    [
        ({"delay": 90}, 90.0, None),
        ({"delay": timedelta(minutes=2)}, 120.0, None),
        ({"delay": 0}, 0.0, None),
        ({"eta": NOW + 5}, 5.0, None),
        ({"eta": datetime.fromtimestamp(NOW + 7, UTC)}, 7.0, None),
        ({"eta": datetime.fromtimestamp(NOW + 7, timezone(timedelta(hours=5)))}, 7.0, None),
        ({"eta": NOW - 5}, -5.0, None),
        ({"expires": 60}, None, 60.0),
        ({"expires": timedelta(hours=1)}, None, 3_600.0),
        ({"expires": datetime.fromtimestamp(NOW + 9, UTC)}, None, 9.0),
        ({"delay": 5, "expires": 6}, 5.0, 6.0),
    ],
)
def test_times_in_all_forms(given: dict[str, Any], due: float | None, expires: float | None) -> None:
    found = timing(key="k", **given)

    assert found is not None
    assert found.due == (None if due is None else pytest.approx(NOW + due))
    assert found.expires == (None if expires is None else pytest.approx(NOW + expires))
    assert found.waits == (due is not None and due > 0)


def test_a_send_that_says_nothing_of_time_is_left_alone() -> None:
    assert timing(key="k") is None
    assert timing(delay=None, eta=None, expires=None) is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"delay": -1}, "delay=-1 is neither seconds from now nor a timedelta"),
        ({"delay": True}, "delay=True is neither"),
        ({"delay": "5m"}, "delay='5m' is neither"),
        ({"delay": float("nan")}, "delay=nan is neither"),
        ({"delay": float("inf")}, "delay=inf is neither"),
        ({"delay": 1.7e12}, "is more than 3,000 years: give seconds from now"),
        ({"eta": datetime(2030, 1, 1)}, "has no time zone: add tzinfo=datetime.UTC"),  # noqa: DTZ001 - it is to be refused
        ({"eta": 1.7e12}, "looks like milliseconds"),
        ({"eta": 5}, "looks like seconds from now: give seconds of the epoch, or delay=5"),
        ({"eta": "tomorrow"}, "is neither a datetime with a time zone nor seconds of the epoch"),
        ({"delay": 1, "eta": NOW}, "say the same thing"),
        ({"expires": 0.5, "delay": 1}, r"expires=0.5 is over before the message is due"),
        ({"expires": "1h"}, "expires='1h' is neither"),
    ],
)
def test_what_is_no_time_is_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=text.replace("(", r"\(")):
        timing(**given)


def test_a_delayed_message_says_when_and_where_it_is_to_be(app: elsa.App) -> None:
    with app.test(partitions=3) as t:
        app.send("orders", b"v", key="k", headers={"mine": "1"}, id="seven", delay=90, partitioner="md5")

        (waiting,) = t.sent("unit-sending.delay.64")
        assert waiting.key == b"k"
        assert dict(waiting.headers)["mine"] == b"1"
        assert waiting.text(names.ID) == "seven"
        # the sender's rule decides, where it is not the one that the mover has as well
        partition = md5(b"k", 3)
        assert waiting.text(names.TARGET) == f"orders:{partition}"
        assert t.sent("orders") == []
        t.advance(89.9)
        assert t.sent("orders") == []
        t.advance(0.1)
        (arrived,) = t.sent("orders")
        assert (arrived.partition, arrived.key, arrived.value) == (partition, b"k", b"v")
        assert arrived.text(names.TARGET) is None
        assert arrived.text(names.ID) == "seven"


def test_what_is_due_already_is_sent_at_once(app: elsa.App) -> None:
    with app.test() as t:
        app.send("orders", b"v", delay=0)
        app.send("orders", b"v", eta=1.0e9)

        assert len(t.sent("orders")) == 2


def test_an_old_header_does_not_outlive_a_new_send(app: elsa.App) -> None:
    with app.test() as t:
        app.send("orders", b"v", headers=[(names.EXPIRES_AT, b"1"), (names.SENT_AT, b"1")], expires=60)

        (sent,) = t.sent("orders")
        assert [name for name, _ in sent.headers].count(names.EXPIRES_AT) == 1
        assert float(str(sent.text(names.EXPIRES_AT))) == pytest.approx(app.clock.now() + 60, abs=0.001)


def test_many_can_be_put_off_together(app: elsa.App) -> None:
    seen: list[int] = []

    @app.handler("orders")
    def handle(body: int) -> None:
        seen.append(body)

    with app.test() as t:
        handle.send_many([1, 2], delay=5)
        assert seen == []
        t.advance(5)
        assert sorted(seen) == [1, 2]


def test_a_cancelled_message_is_not_delivered(app: elsa.App) -> None:
    with app.test() as t:
        sent = app.send("orders", b"v", delay=5)
        assert sent.id is not None
        app.cancel(sent.id)
        t.advance(10)

        assert t.sent("orders") == []
        (note,) = t.sent("unit-sending.cancelled")
        assert note.key == sent.id.encode()
        assert float(str(note.text(names.EXPIRES_AT))) > app.clock.now() + 6 * 24 * 3600


@pytest.mark.parametrize("message_id", ["", None, 7])
def test_what_is_no_id_cannot_be_cancelled(app: elsa.App, message_id: Any) -> None:
    with pytest.raises(TypeError, match=r"is no message's id: give the text that `Delivery\.id` says"):
        app.cancel(message_id)


def test_the_topics_are_made_by_who_needs_them_first_if_that_is_allowed(
    app: elsa.App, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr("elsa.delays.topics.create", lambda app: made.append(app.name))

    assert sending.create_missing(app, "unit-sending.delay.4") is app.settings.creates_topics
    assert not sending.create_missing(app, "orders")
    assert made == (["unit-sending"] if app.settings.creates_topics else [])


def test_where_topics_are_not_made_a_cancellation_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    app = elsa.App("unit-sending-production", create_topics=False)

    def refuse(*_: Any, **__: Any) -> None:
        raise UnknownTopic("no topic")

    monkeypatch.setattr(app, "produce", refuse)
    try:
        with pytest.raises(UnknownTopic):
            app.cancel("id")
        assert not sending.create_missing(app, "unit-sending-production.delay.4")
    finally:
        app.stop()
