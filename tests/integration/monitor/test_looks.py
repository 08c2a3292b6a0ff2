"""A look at groups agrees with the broker's own numbers, whatever has become of members, topics and messages."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka import Producer as RawProducer

from elsa.config import Settings
from elsa.errors import BrokerUnavailable, ConfigError, NotStarted
from elsa.groups import Groups
from elsa.message import Record
from elsa.monitor.look import Request
from elsa.monitor.scout import Scout
from elsa.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from elsa.monitor.look import GroupState, PartitionState
    from elsa.producer import Producer

    Commit = Callable[[str, str, Mapping[int, int]], None]

pytestmark = pytest.mark.broker


def seen(scout: Scout, name: str, **request: Any) -> GroupState:
    look = scout.look(Request((name,), **request))
    assert look.failures == ()
    (group,) = look.groups
    return group


def rows(group: GroupState) -> list[tuple[int, int | None, int, int, int]]:
    return [(each.partition, each.committed, each.low, each.end, each.lag) for each in group.partitions]


@pytest.fixture
def member(brokers: str, topic: Any, group: Any, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A topic of two partitions, and a group with one member that holds them and has committed nothing."""
    name, topic_name = group(), topic(partitions=2)
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": name,
            "client.id": "it-member",
            "group.protocol": getattr(request, "param", "classic"),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic_name])
    while not consumer.assignment():
        consumer.poll(0.1)
    yield name, topic_name
    consumer.close()


def test_lag_is_that_of_the_broker_and_every_partition_of_the_topic_counts(
    scout: Scout, settings: Settings, filled: Any, group: Any, commit: Commit
) -> None:
    name, used = filled(10, 10, 10), group()
    commit(used, name, {0: 4, 1: 10})

    found = seen(scout, used)

    assert rows(found) == [(0, 4, 0, 10, 6), (1, 10, 0, 10, 0), (2, None, 0, 10, 10)]
    assert [(each.partition, each.lag) for each in Groups(settings).lag(used)] == [(0, 6), (1, 0)]
    assert (found.state, found.members, found.lag) == ("empty", 0, 16)


def test_age_is_that_of_the_first_message_that_is_not_committed(
    scout: Scout, producer: Producer, topic: Any, group: Any, commit: Commit
) -> None:
    name, used = topic(partitions=3, config={"retention.ms": "-1"}), group()
    began = time.time()
    producer.produce(name, [Record(str(n), timestamp=began - 1000 + 100 * n) for n in range(10)], partition=0)
    producer.produce(name, [Record("ahead", timestamp=began + 1000)], partition=1)
    commit(used, name, {0: 3, 1: 0, 2: 0})

    first = seen(scout, used)
    again = seen(scout, used)
    commit(used, name, {0: 7})
    later = seen(scout, used)

    ages = {each.partition: each.lag_seconds for each in first.partitions}
    assert ages[0] == pytest.approx(700, abs=30)
    assert (ages[1], ages[2]) == (0.0, 0.0)
    assert (first.oldest_seconds or 0) < (again.oldest_seconds or 0)
    assert later.oldest_seconds == pytest.approx(300, abs=30)


def test_ages_are_left_out_when_there_is_no_time_for_them(
    scout: Scout, producer: Producer, topic: Any, group: Any, commit: Commit
) -> None:
    name, used = topic(), group()
    producer.produce(name, ["a", "b"])
    commit(used, name, {0: 1})

    (partition,) = seen(scout, used, ages_seconds=0.0).partitions

    assert (partition.lag, partition.lag_seconds) == (1, None)


@pytest.mark.parametrize("member", ["classic", "consumer"], indirect=True)
def test_a_member_owns_partitions_and_has_the_whole_log_to_do_before_it_commits(
    scout: Scout, producer: Producer, member: tuple[str, str]
) -> None:
    name, topic_name = member
    producer.produce(topic_name, ["a", "b", "c"], partition=1)

    found = seen(scout, name)

    assert (found.state, found.members) == ("stable", 1)
    assert rows(found) == [(0, None, 0, 0, 0), (1, None, 0, 3, 3)]
    assert {each.owner for each in found.partitions} == {"it-member"}


def test_what_was_deleted_before_the_commit_does_not_count(
    scout: Scout, settings: Settings, filled: Any, group: Any, commit: Commit
) -> None:
    name, used = filled(10), group()
    commit(used, name, {0: 4})
    Topics(settings).delete_records(name, {0: 8})

    assert rows(seen(scout, used)) == [(0, 4, 8, 10, 2)]


def test_a_topic_that_is_deleted_vanishes(
    scout: Scout, settings: Settings, filled: Any, group: Any, commit: Commit
) -> None:
    kept, gone, used = filled(1), filled(1), group()
    for name in (kept, gone):
        commit(used, name, {0: 0})
    before = {each.topic for each in seen(scout, used).partitions}
    Topics(settings).delete(gone)

    assert before == {kept, gone}
    assert {each.topic for each in seen(scout, used).partitions} == {kept}


def test_an_open_transaction_hides_what_comes_after_and_markers_keep_nobody_waiting(
    scout: Scout, brokers: str, topic: Any, group: Any, commit: Commit
) -> None:
    """Committed: three messages and a marker; then two messages that are not. The end is the last stable offset."""
    name, used = topic(), group()
    raw = RawProducer({"bootstrap.servers": brokers, "transactional.id": name})
    raw.init_transactions(30)
    for count, is_committed in ((3, True), (2, False)):
        raw.begin_transaction()
        for _ in range(count):
            raw.produce(name, b"x", partition=0)
        raw.flush()
        if is_committed:
            raw.commit_transaction(30)
    commit(used, name, {0: 3})

    (stable,) = seen(scout, used).partitions
    (high,) = seen(scout, used, read_committed=False).partitions
    raw.abort_transaction(30)
    (aborted,) = seen(scout, used).partitions

    def facts(each: PartitionState) -> tuple[int, int, float | None]:
        return each.end, each.lag, each.lag_seconds

    assert facts(stable) == (4, 0, 0.0)
    assert facts(high)[:2] == (6, 3)
    assert (high.lag_seconds or 0) > 0
    assert facts(aborted) == (7, 0, 0.0)


def test_a_group_that_does_not_exist_is_dead_and_patterns_find_those_that_do(
    scout: Scout, topic: Any, group: Any, commit: Commit
) -> None:
    name, used, other = topic(), group(), group()
    for each in (used, other):
        commit(each, name, {0: 0})

    look = scout.look(Request((used, "it-there-is-no-such-group")))
    pattern = scout.look(Request((f"{used[:-1]}?",)))
    everything = scout.look(Request())

    assert {each.name: each.state for each in look.groups} == {"it-there-is-no-such-group": "dead", used: "empty"}
    assert look.unknown == ("it-there-is-no-such-group",)
    assert used in [each.name for each in pattern.groups]
    assert {used, other} <= {each.name for each in everything.groups}


def test_no_group_at_all_is_a_look_as_well(scout: Scout) -> None:
    look = scout.look(Request(("it-nobody-has-this-name-*",)))

    assert (look.groups, look.failures) == ((), ())


def test_only_the_topics_that_are_asked_for(scout: Scout, topic: Any, group: Any, commit: Commit) -> None:
    first, second, used = topic(), topic(), group()
    for each in (first, second):
        commit(used, each, {0: 0})

    assert {each.topic for each in seen(scout, used, topics=(second,)).partitions} == {second}


def test_a_thousand_partitions(scout: Scout, producer: Producer, topic: Any, group: Any, commit: Commit) -> None:
    name, used = topic(partitions=1000), group()
    producer.produce(name, [Record(b"x", partition=n % 1000) for n in range(3000)])
    commit(used, name, dict.fromkeys(range(1000), 1))

    found = seen(scout, used, ages_seconds=30.0)

    assert (len(found.partitions), found.lag) == (1000, 2000)
    assert all(each.lag_seconds is not None for each in found.partitions)


def test_a_process_that_dies_is_replaced(scout: Scout, topic: Any, group: Any, commit: Commit) -> None:
    name, used = topic(), group()
    commit(used, name, {0: 0})
    seen(scout, used)
    first = scout.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    assert rows(seen(scout, used)) == [(0, 0, 0, 0, 0)]
    assert scout.pid not in (None, first)


def test_nobody_answering_is_typed_and_the_next_look_is_possible(topic: Any) -> None:
    with Scout(Settings(name="it-unreachable", brokers="127.0.0.1:1")) as scout:
        for _ in range(2):
            with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
                scout.look(Request())


def test_settings_that_cannot_travel_are_refused_by_name(brokers: str) -> None:
    settings = Settings(name="it-local", brokers=brokers, kafka={"oauth_cb": lambda _: ("token", 0.0)})
    with Scout(settings) as scout, pytest.raises(ConfigError, match="define them at the top of a module"):
        scout.look(Request())


def test_a_scout_that_is_closed_looks_no_more(settings: Settings) -> None:
    scout = Scout(settings)
    scout.look(Request(("it-nobody",)))
    scout.close()

    with pytest.raises(NotStarted):
        scout.look(Request())
