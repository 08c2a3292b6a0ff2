"""Replaying: copies lie on the retry topic of the group that failed, once, and nothing else has changed.

What workers make of them is seen in tests/integration/engine/test_replay.py.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.errors import BrokerUnavailable, UnknownDeadLetter, UnknownPartition, UnknownTopic

from .conftest import bodies

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

    from .conftest import MakeWorld, World

pytestmark = pytest.mark.broker


def test_a_copy_is_the_message_without_its_death(world: World) -> None:
    world.die(3)

    result = world.letters.replay()
    copies = {message.key: message for message in world.read(world.retry)}

    assert (result.done, result.targets, result.refused) == (3, {world.retry: 3}, {})
    assert {key: one.value for key, one in copies.items()} == {b"k0": b"body 0", b"k1": b"body 1", b"k2": b"body 2"}
    assert [one.partition for _, one in sorted(copies.items())] == [0, 1, 0]  # those of their origins
    assert copies[b"k1"].headers == (
        ("tenant", b"eu"),
        ("elsa-id", b"id-1"),
        ("elsa-origin", f"{world.source}:1:1".encode()),
        ("elsa-replayed", b"1"),
    )
    assert world.app.topics.describe(world.retry).config["retention.ms"] == str(30 * 24 * 3600 * 1000)
    assert world.log.partitions(world.retry) == 2
    assert world.read(world.source) == []


def test_a_second_replay_sends_nothing_and_a_new_death_is_replayed(world: World) -> None:
    world.die(3)
    world.letters.replay()

    again = world.letters.replay()
    world.die(1, first=3)
    third = world.letters.replay()

    assert (again.done, third.done) == (0, 1)
    assert world.values(world.retry) == bodies(0, 1, 2, 3)


def test_filters_choose_and_the_others_stay_open(world: World) -> None:
    world.die(2)
    world.die(2, first=2, handler="shop.mail", error="builtins.ValueError")
    world.die(1, first=4, handler="shop.mail", error="builtins.ValueError", key="ann")
    letters = world.letters

    assert letters.replay(handler="mail", key="ann").done == 1
    assert letters.replay(error=ValueError, handler="bill").done == 0
    assert letters.replay(since=datetime.now(UTC) + timedelta(hours=1)).done == 0
    assert letters.replay(until=datetime.now(UTC) - timedelta(hours=1)).done == 0
    assert sorted(one.id or "" for one in letters) == ["id-0", "id-1", "id-2", "id-3"]
    assert letters.replay(error=["ValueError"]).done == 2
    assert letters.summary().handlers == {"shop.bill": 2}
    assert world.values(world.retry) == bodies(2, 3, 4)


def test_a_dry_run_changes_nothing(world: World) -> None:
    def topics() -> dict[str, int]:
        """Its own: other tests make and delete theirs meanwhile."""
        return {n: c for n, c in world.app.topics.list(internal=True).items() if n.startswith(world.source)}

    world.die(3)
    before = topics()

    result = world.letters.replay(dry_run=True)

    assert (result.done, result.is_dry, result.targets) == (3, True, {world.retry: 3})
    assert topics() == before
    assert world.letters.summary().open == 3


def test_headers_are_set_and_left_out(world: World) -> None:
    world.die(1)

    world.letters.replay(set_headers={"tenant": "us", "via": b"replay"}, drop_headers="elsa-id")
    (copy,) = world.read(world.retry)

    assert copy.headers == (
        ("elsa-origin", f"{world.source}:0:0".encode()),
        ("tenant", b"us"),
        ("via", b"replay"),
        ("elsa-replayed", b"1"),
    )


def test_they_may_be_sent_to_another_topic(world: World, topic: Topics) -> None:
    other = topic(3)
    world.die(4)

    result = world.letters.replay(to=other, limit=3)

    assert result.targets == {other: 3}
    assert len(world.read(other)) == 3
    assert not world.app.topics.exists(world.retry)
    assert world.letters.summary().open == 1


def test_another_topic_has_to_exist(world: World) -> None:
    world.die(1)

    with pytest.raises(UnknownTopic, match=r"'nowhere' does not exist\n.*elsa topics create nowhere"):
        world.letters.replay(to="nowhere")
    assert world.letters.summary().open == 1


def test_one_that_is_too_large_for_its_target_holds_nobody_up(world: World, topic: Topics) -> None:
    target = topic(1, {"max.message.bytes": "2000"})
    world.die(10, partition=0)
    world.app.produce(world.name, elsa.Record("x" * 5_000, headers=[("elsa-handler", "shop.bill")], partition=0))
    world.die(10, first=10, partition=0)

    # several transactions, one of them with the large one
    result = world.letters.replay(to=target, rate=8)

    assert result.done + result.refused.total() == 21
    assert all("too large" in reason for reason in result.refused)
    assert world.letters.replay(to=target, rate=2).refused.total() == 1
    assert world.values(target) == bodies(*range(20))


def test_again_sends_what_was_sent(world: World) -> None:
    world.die(2)
    world.letters.replay()

    assert (
        world.letters.replay(
            again=True, offsets=[(one.partition, one.offset) for one in world.letters.list(handled=True)]
        ).done
        == 2
    )
    assert world.values(world.retry) == bodies(0, 0, 1, 1)


def test_what_is_dropped_is_not_replayed(world: World) -> None:
    world.die(4)
    place = world.letters.get("id-2").place

    dropped = world.letters.drop(offsets=[(int(place.split(":")[0]), int(place.split(":")[1]))])
    world.letters.replay()

    assert (dropped.done, dropped.targets) == (1, {})
    assert world.values(world.retry) == bodies(0, 1, 3)
    assert world.letters.get("id-2").is_handled


def test_a_purge_deletes_what_lies_before_the_first_open_one(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.die(5)

    result = world.letters.drop(purge=True, offsets=[(0, 0), (0, 1), (0, 3)])

    assert result.purged == {0: 2}
    assert world.values(world.name) == bodies(2, 3, 4)
    assert world.letters.replay().done == 2
    assert world.values(world.retry) == bodies(2, 4)


def test_without_a_group_that_reads_the_source_nobody_would_get_them(world: World) -> None:
    world.die(2)
    world.app.groups.delete(world.group)

    result = world.letters.replay()

    ((reason, count),) = result.refused.items()
    assert count == 2
    assert f"group '{world.group}' has committed nothing of topic '{world.source}'" in reason
    assert "--to" in reason
    assert world.letters.summary().open == 2


def test_the_app_knows_the_groups_of_its_handlers(world: World) -> None:
    @world.app.handler(world.source, name="shop.bill", group="billing", dead_letter=world.name)
    def bill(body: str) -> None: ...

    @world.app.handler(world.source, name="shop.tail", group=None)
    def tail(body: str) -> None: ...

    world.die(1)
    world.die(1, first=1, handler="shop.tail")
    result = world.letters.replay()

    assert result.targets == {f"{world.source}.billing.retry": 1}
    assert list(result.refused) == [
        "their handler shop.tail has no group, so no retry topic: name a topic with --to",
    ]


def test_a_group_that_nobody_has_is_doubted(world: World) -> None:
    world.die(1)

    dry = world.letters.replay(group="nobody", dry_run=True)
    result = world.letters.replay(group="nobody")

    assert dry.warnings == result.warnings
    assert f"group 'nobody' has committed nothing of topic '{world.source}'" in result.warnings[0]


def test_a_delayed_message_goes_where_it_was_to_go(make_world: MakeWorld) -> None:
    world = make_world()
    name = f"{world.source}.delay.dlq"
    headers = [
        ("tenant", "eu"),
        ("elsa-id", "id-0"),
        ("elsa-due-at", "1000.000"),
        ("elsa-target", f"{world.source}:1"),
        ("elsa-origin", f"{world.source}.delay.16:0:5"),
        ("elsa-reason", "undeliverable"),
        ("elsa-error-message", "there was no such topic"),
    ]
    world.app.topics.create(name, partitions=1)
    world.app.produce(name, elsa.Record("body 0", key="k", headers=headers))
    letters = world.app.dead_letters(name)

    refused = letters.replay(group=world.group)
    result = letters.replay()
    (copy,) = world.read(world.source)

    assert list(refused.refused) == [
        f"they were on their way to '{world.source}', and no group has failed: leave --group out"
    ]
    assert result.targets == {world.source: 1}
    assert (copy.partition, copy.key, copy.value) == (1, b"k", b"body 0")
    # if it dies there, it died there, and not in a delay topic
    assert copy.headers == (("tenant", b"eu"), ("elsa-id", b"id-0"), ("elsa-replayed", b"1"))


def test_topics_are_not_made_where_nobody_wants_that(make_world: MakeWorld) -> None:
    world = make_world(create_topics=False)
    world.die(1)

    with pytest.raises(UnknownTopic, match=r"keeps the dead letters that are handled, does not exist\n.*--create"):
        world.letters.replay()
    assert world.letters.replay(create=True).done == 1


def test_a_topic_of_other_messages_is_left_alone(world: World) -> None:
    world.app.produce(world.source, ["x", "y"])

    with pytest.raises(UnknownTopic, match=rf"no dead-letter topic '{world.source}'\n.*lie on {world.name}"):
        world.app.dead_letters(world.source).drop(purge=True)
    assert len(world.read(world.source)) == 2


def test_a_topic_that_was_made_anew_has_no_marks(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.die(3)
    world.letters.replay()
    world.app.topics.delete(world.name)
    world.app.topics.create(world.name, partitions=1)
    world.die(2, first=3)

    assert world.letters.replay().done == 2


def test_one_letter_is_found_by_place_origin_and_id(world: World) -> None:
    world.die(4)
    letters = world.letters
    one = letters.get("id-3")

    assert (
        letters.get(one.place) == letters.get(f"{world.source}:1:3") == letters.get((one.partition, one.offset)) == one
    )
    assert (one.attempt, one.error_type, one.error_message) == (5, "builtins.TimeoutError", "the bank is away (3)")
    with pytest.raises(UnknownDeadLetter, match="no dead letter 'id-9'"):
        letters.get("id-9")


def test_a_partition_that_does_not_exist(world: World) -> None:
    for _ in range(2):
        with pytest.raises(UnknownPartition, match=r"has no partition 99, .* 99:1\n.*partitions are 0..1"):
            world.letters.replay(offsets=[(0, 0), (99, 1)])
        # also where there is something
        world.die(2)
    with pytest.raises(UnknownPartition):
        next(world.letters.list(offsets=[(99, 1)]))
    with pytest.raises(UnknownDeadLetter, match="no dead letter '99:1'"):
        world.letters.get("99:1")


def test_a_topic_that_does_not_exist(world: World) -> None:
    with pytest.raises(UnknownTopic, match=r"no dead-letter topic 'nowhere.dlq'\n.*elsa dlq list"):
        world.app.dead_letters("nowhere.dlq").replay()


def test_a_broker_that_is_away(make_world: MakeWorld) -> None:
    world = make_world()
    letters = type(world.app)("away", brokers="127.0.0.1:1").dead_letters("x.dlq")

    with pytest.raises(BrokerUnavailable):
        letters.replay()
