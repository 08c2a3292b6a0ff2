"""The rules of lag: never below 0, the whole log where nothing is committed, and no age without a message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.errors import ConfigError
from elsa.kafka.admin import GroupInfo, MemberInfo
from elsa.message import TopicPartition
from elsa.monitor.look import Edges, Request, Seen, begin, concerned, lag, owners

from .sights import group, look, partition

HERE = TopicPartition("orders", 0)


@given(st.one_of(st.none(), st.integers(0, 100)), st.integers(0, 100), st.integers(0, 100))
def test_lag_is_never_negative_and_never_more_than_the_log(committed: int | None, low: int, end: int) -> None:
    found = lag(committed, low, end)

    assert 0 <= found <= max(0, end - low)
    assert begin(committed, low) >= low


def seen(committed: dict[TopicPartition, int], *partitions: TopicPartition) -> Seen:
    member = MemberInfo("m", "it-client", "/127.0.0.1", None, (HERE,))
    info = GroupInfo("billing", "stable", "classic", "range", "", (member,))
    return Seen(info, committed, owners(info.members), partitions or (HERE,))


@pytest.mark.parametrize(
    ("written", "lag", "expected"),
    [
        ({(HERE, 4): 900.0}, 5, 100.0),
        # a producer's clock that runs ahead
        ({(HERE, 4): 2000.0}, 5, 0.0),
        # only markers, or what was aborted: nothing waits
        ({(HERE, 4): None}, 0, 0.0),
        # of another offset
        ({(HERE, 3): 900.0}, 5, None),
    ],
)
def test_age_is_that_of_the_message_at_the_committed_offset(
    written: dict[tuple[TopicPartition, int], float | None], lag: int, expected: float | None
) -> None:
    one = seen({HERE: 4})
    (state,) = one.state(Edges({HERE: 0}, {HERE: 9}), written, 1000.0).partitions

    assert (state.lag, state.lag_seconds, state.owner) == (lag, expected, "it-client")
    assert list(one.places(Edges({HERE: 0}, {HERE: 9}))) == [(HERE, 4)]


def test_caught_up_is_no_age_and_needs_no_message() -> None:
    one = seen({HERE: 9})
    edges = Edges({HERE: 0}, {HERE: 9})

    assert one.state(edges, {}, 1000.0).partitions[0].lag_seconds == 0.0
    assert list(one.places(edges)) == []


def test_a_partition_without_an_end_is_left_out() -> None:
    assert seen({HERE: 4}).state(Edges({HERE: 0}, {}), {}, 1000.0).partitions == ()


def test_all_partitions_of_a_topic_concern_a_group_and_none_of_a_deleted_one() -> None:
    there = concerned({HERE: 1, TopicPartition("gone", 0): 1}, [TopicPartition("mails", 0)], {"orders": 2, "mails": 1})

    assert there == {HERE, TopicPartition("orders", 1), TopicPartition("mails", 0)}
    assert concerned([HERE], [], {"orders": 2}, ["mails"]) == set()


def test_a_static_member_owns_by_its_own_name() -> None:
    member = MemberInfo("m", "it-client", "/127.0.0.1", "shop-host-0", (HERE,))

    assert owners([member]) == {HERE: "shop-host-0"}


def test_a_group_sums_its_lag_and_has_the_age_of_its_oldest_message() -> None:
    both = group(partition(0, lag=3, lag_seconds=7.0), partition(1, lag=4, lag_seconds=None))

    assert (both.lag, both.oldest_seconds) == (7, 7.0)
    assert group(partition(0, lag_seconds=None)).oldest_seconds is None
    assert group().oldest_seconds == 0.0


def test_a_dead_group_and_a_pattern_that_matches_none_are_unknown() -> None:
    assert look(group(state="dead", name="nobody"), group(), unmatched=("z*",)).unknown == ("nobody", "z*")


@pytest.mark.parametrize("names", [{"groups": ("billing", "")}, {"topics": ("",)}], ids=str)
def test_a_name_that_is_empty_is_refused(names: Any) -> None:
    with pytest.raises(ConfigError, match="without a name is to be looked at"):
        Request(**names)
