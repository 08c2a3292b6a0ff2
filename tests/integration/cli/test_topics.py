"""`elsa topics` on real Kafka: what an operator creates, changes and deletes, and what they are asked before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from elsa import exits

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics
    from tests.integration.cli.conftest import Elsa

pytestmark = pytest.mark.broker


def partitions(elsa: Elsa, name: str) -> int | None:
    return {row["topic"]: row["partitions"] for row in json.loads(elsa("topics", "list", "--json").out)}.get(name)


def test_topics_are_listed_with_their_partitions(elsa: Elsa, topic: Topics) -> None:
    name = topic(partitions=3)

    lines = [line.split() for line in elsa("topics", "list").out.splitlines()]

    assert lines[0] == ["topic", "partitions"]
    assert [name, "3"] in lines
    assert partitions(elsa, name) == 3


def test_internal_topics_are_listed_when_asked_for(elsa: Elsa, topic: Topics) -> None:
    name = topic()
    dead_letters = f"{name}.dlq"
    elsa("topics", "create", dead_letters)

    shown = elsa("topics", "list", "--internal").out
    hidden = elsa("topics", "list").out
    elsa("topics", "delete", dead_letters, "--yes")

    assert dead_letters in shown
    assert dead_letters not in hidden


def test_a_topic_is_created_described_altered_widened_and_deleted(elsa: Elsa, topic: Topics) -> None:
    name = f"{topic()}-made"

    created = elsa("topics", "create", name, "-p", "2", "-c", "retention.ms=60000")
    elsa("produce", name, "x", "-p", "1")
    altered = elsa("topics", "alter", name, "retention.ms=120000", "max.message.bytes=5000")
    widened = elsa("topics", "add-partitions", name, "3")
    described = json.loads(elsa("topics", "describe", name, "--json").out)
    back = elsa("topics", "alter", name, "retention.ms=")
    after = json.loads(elsa("topics", "describe", name, "--json").out)
    deleted = elsa("topics", "delete", name, "--yes")

    assert (created.code, created.out) == (exits.OK, f"created {name} with 2 partitions\n")
    assert (altered.code, widened.code, back.code) == (exits.OK, exits.OK, exits.OK)
    assert [(row["partition"], row["low"], row["high"]) for row in described["partitions"]] == [
        (0, 0, 0),
        (1, 0, 1),
        (2, 0, 0),
    ]
    assert (described["config"]["retention.ms"], described["config"]["max.message.bytes"]) == ("120000", "5000")
    assert after["config"]["retention.ms"] == "604800000"
    assert (deleted.code, deleted.out) == (exits.OK, f"deleted {name}\n")
    assert partitions(elsa, name) is None


def test_the_default_partitions_come_from_the_settings(elsa: Elsa, topic: Topics) -> None:
    name = f"{topic()}-made"

    elsa("topics", "create", name, ELSA_DEFAULT_PARTITIONS="4")
    found = partitions(elsa, name)
    elsa("topics", "delete", name, "--yes")

    assert found == 4


def test_an_existing_topic_is_an_error_unless_that_is_fine(elsa: Elsa, topic: Topics) -> None:
    name = topic(partitions=2)

    refused = elsa("topics", "create", name)
    fine = elsa("topics", "create", name, "--if-not-exists")

    assert refused.code == exits.FAILED
    assert "exists" in refused.err
    assert (fine.code, fine.out) == (exits.OK, "")
    assert partitions(elsa, name) == 2


def test_a_description_for_people_shows_offsets_and_settings(elsa: Elsa, topic: Topics) -> None:
    name = topic(partitions=1, config={"retention.ms": "99000"})
    elsa("produce", name, "x")

    lines = [line.split() for line in elsa("topics", "describe", name).out.splitlines()]

    assert lines[0] == ["partition", "leader", "replicas", "isr", "low", "high"]
    assert lines[1][0] == "0"
    assert lines[1][-2:] == ["0", "1"]
    assert ["retention.ms", "99000"] in lines


@pytest.mark.parametrize("verb", [["describe"], ["delete", "--yes"], ["alter"], ["add-partitions"]])
def test_a_topic_that_does_not_exist_is_named_with_a_near_one(verb: list[str], elsa: Elsa, topic: Topics) -> None:
    name = topic()
    last = {"alter": ["retention.ms=1000"], "add-partitions": ["5"]}.get(verb[0], [])

    ran = elsa("topics", *verb, f"{name}x", *last)

    assert ran.code == exits.NOT_FOUND
    assert f"{name}x" in ran.err
    assert f"did you mean '{name}'?" in ran.err


def test_nothing_is_deleted_when_one_of_several_does_not_exist(elsa: Elsa, topic: Topics) -> None:
    name = topic()

    ran = elsa("topics", "delete", name, f"{name}x", "--yes")

    assert ran.code == exits.NOT_FOUND
    assert "nothing was deleted" in ran.err
    assert partitions(elsa, name) == 1


def test_a_missing_topic_may_be_fine(elsa: Elsa, topic: Topics) -> None:
    ran = elsa("topics", "delete", f"{topic()}x", "--yes", "--missing-ok")

    assert ran.code == exits.OK


def test_deleting_without_anybody_to_ask_needs_yes(elsa: Elsa, topic: Topics) -> None:
    name = topic()

    ran = elsa("topics", "delete", name)

    assert ran.code == exits.USAGE
    assert "add --yes" in ran.err
    assert partitions(elsa, name) == 1


@pytest.mark.parametrize(("answer", "outcome"), [("n\n", (exits.FAILED, 1)), ("y\n", (exits.OK, None))])
def test_a_person_is_asked_before_a_topic_is_deleted(
    answer: str, outcome: tuple[int, int | None], elsa: Elsa, topic: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topic()
    monkeypatch.setattr("elsa.cli.output.can_ask", lambda: True)

    ran = elsa("topics", "delete", name, stdin=answer)

    assert f"Delete {name} with all messages?" in ran.err
    assert (ran.code, partitions(elsa, name)) == outcome


def test_fewer_partitions_are_refused_by_the_broker(elsa: Elsa, topic: Topics) -> None:
    name = topic(partitions=3)

    ran = elsa("topics", "add-partitions", name, "2")

    assert ran.code == exits.FAILED
    assert ran.err.startswith("error: ")
    assert partitions(elsa, name) == 3


def test_a_setting_that_kafka_does_not_know_is_refused(elsa: Elsa, topic: Topics) -> None:
    ran = elsa("topics", "alter", topic(), "retention.mss=5")

    assert ran.code == exits.FAILED
    assert "retention.mss" in ran.err


def test_brokers_that_do_not_answer_are_named(elsa: Elsa) -> None:
    ran = elsa("topics", "list", "-b", "127.0.0.1:1")

    assert (ran.code, ran.out) == (exits.BROKER, "")
    assert "127.0.0.1:1" in ran.err
