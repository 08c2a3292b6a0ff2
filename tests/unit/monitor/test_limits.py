"""A check says which group is over which limit, and where that cannot be said."""

from __future__ import annotations

from elsa.monitor.limits import Excess, Limits, excesses

from .sights import group, partition

KEY = ("billing", "orders", 0)


def test_a_limit_holds_for_all_partitions_of_a_group_together() -> None:
    both = group(partition(0, lag=3), partition(1, lag=4))

    assert excesses(Limits(messages=7), [both], {}) == []
    assert excesses(Limits(messages=6), [both], {}) == [Excess("billing", "7 messages behind, 6 are allowed")]


def test_the_oldest_message_counts() -> None:
    both = group(partition(0, lag_seconds=3.0), partition(1, lag_seconds=61.25))

    assert excesses(Limits(age_seconds=62.0), [both], {}) == []
    (found,) = excesses(Limits(age_seconds=60.0), [both], {})
    assert found.text == "its oldest message has waited for 61.2 s, 60 s are allowed"


def test_an_age_that_could_not_be_read_is_neither_good_nor_bad() -> None:
    unread = group(partition(0, lag_seconds=None), partition(1, lag_seconds=None), partition(2, lag_seconds=1.0))
    (found,) = excesses(Limits(age_seconds=60.0), [unread], {})

    assert found == Excess("billing", "how old the messages of orders[0] and 1 more are could not be read", True)


def test_the_worst_grade_is_named_with_its_places() -> None:
    grades = {KEY: "stop", ("billing", "orders", 1): "stop", ("billing", "mails", 0): "warn", ("mail", "x", 0): "stop"}

    (found,) = excesses(Limits(is_graded=True), [group(partition())], grades)  # type: ignore[arg-type]  # literals
    assert found == Excess("billing", "stop in orders[0] and 1 more")
    assert excesses(Limits(is_graded=True), [group(partition())], {KEY: "ok"}) == []


def test_no_limit_is_no_limit() -> None:
    assert not Limits()
    assert Limits(messages=0)
    assert excesses(Limits(), [group(partition())], {KEY: "stop"}) == []
