"""The way of a delayed message: fixed waits, one after the other, never ahead of its time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa import headers as names
from elsa.policies import delay
from elsa.policies.delay import TIERS, due_at, envelope, hops, next_hop, postponed, tier, undeliverable


@given(st.floats(0.001, 86_400))
def test_a_wait_of_up_to_a_day_is_a_few_hops_that_end_within_a_second_of_it(seconds: float) -> None:
    way = hops(seconds)

    assert seconds <= sum(way) + 1e-6 < seconds + 1 + 1e-3
    assert way == sorted(way, reverse=True)
    assert len(way) <= 3 * len(TIERS)


@given(st.floats(0.001, 10_000_000), st.floats(0, 0.3))
def test_a_message_is_never_let_go_early_however_long_each_hop_takes(wait: float, slack: float) -> None:
    due, now = 1_000_000.0 + wait, 1_000_000.0
    headers = envelope([], due=due, target="orders")
    for _ in range(400):
        hop = next_hop(headers, now=now, app="shop")
        assert hop is not None
        if hop.is_last:
            break
        now += int(hop.topic.rpartition(".")[2]) + slack
        headers = hop.headers

    assert hop is not None
    assert hop.is_last
    # the header has milliseconds
    assert due - 0.001 <= now <= due + 1.0 + slack + 0.001


def test_the_target_gets_the_users_headers_in_their_order_and_when_it_was_due() -> None:
    pairs: names.Pairs = [("b", b"1"), ("a", None), ("b", b"2"), (names.DUE_AT, b"old"), (names.TARGET, b"old")]
    hop = next_hop(envelope(pairs, due=5.0, target="orders:2"), now=5.0, app="shop")

    assert hop is not None
    assert (hop.topic, hop.partition) == ("orders", 2)
    assert hop.headers == [("b", b"1"), ("a", None), ("b", b"2"), (names.DUE_AT, b"5.000")]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(names.DUE_AT, b"1")],
        [(names.TARGET, b"orders")],
        [(names.DUE_AT, b"soon"), (names.TARGET, b"orders")],
        [(names.DUE_AT, b"inf"), (names.TARGET, b"orders")],
        [(names.DUE_AT, b"1"), (names.TARGET, b"")],
        [(names.DUE_AT, b"1"), (names.TARGET, b"orders:x")],
        [(names.DUE_AT, b"1"), (names.TARGET, b"orders:")],
        [(names.DUE_AT, b"1"), (names.TARGET, b":5")],
        [(names.DUE_AT, b"1"), (names.TARGET, b"or ders:5")],
        [(names.DUE_AT, b"1"), (names.TARGET, b"x" * 250)],
        [(names.DUE_AT, b"1"), (names.TARGET, b"orders:9999999999")],
        [(names.DUE_AT, b"1"), (names.TARGET, b"orders:" + b"9" * 5_000)],
    ],
)
def test_what_does_not_say_when_and_where_to_is_none_of_ours(headers: names.Pairs) -> None:
    assert next_hop(headers, now=10.0, app="shop") is None


@pytest.mark.parametrize(("overdue", "expected"), [(0, 1), (3, 1), (5, 4), (20, 16), (64, 64), (9_999, 64)])
def test_another_try_waits_the_longer_the_longer_it_is_overdue(overdue: float, expected: int) -> None:
    assert postponed(100.0, now=100.0 + overdue, app="shop") == f"shop.delay.{expected}"
    assert postponed(None, now=100.0, app="shop") == "shop.delay.64"


def test_what_is_kept_says_why_and_where_it_came_from() -> None:
    pairs: names.Pairs = [("mine", b"1"), (names.ID, b"7"), (names.ERROR_MESSAGE, b"earlier")]
    kept = dict(undeliverable(pairs, why="å" * 400, origin="shop.delay.1:0:3"))

    assert kept["mine"] == b"1"
    assert kept[names.REASON] == b"undeliverable"
    assert kept[names.ORIGIN] == b"shop.delay.1:0:3"
    assert kept[names.ERROR_MESSAGE] == ("å" * 256).encode()
    stub = dict(undeliverable(pairs, why="too large", origin="o", is_stub=True))
    assert stub.keys() == {names.ID, names.ORIGIN, names.REASON, names.ERROR_MESSAGE}
    again = dict(undeliverable([(names.ORIGIN, b"first")], why="", origin="second"))
    assert again[names.ORIGIN] == b"first"


def test_times_that_are_none_are_ignored() -> None:
    assert due_at(None) is None
    assert due_at([(names.DUE_AT, b"nan")]) is None
    assert due_at([(names.DUE_AT, b"1.5")]) == 1.5
    assert delay.seconds("x") is None
    assert tier(-1) is None
