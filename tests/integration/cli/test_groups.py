"""`elsa groups` on real Kafka: lag is shown as it is, and offsets are moved only after they have been shown."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from elsa import App, exits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.testing.kafka import Groups, Topics
    from tests.integration.cli.conftest import Elsa

pytestmark = pytest.mark.broker

#: 2026-01-31T08:00Z and two hours after it
EIGHT, TEN = 1769846400, 1769853600
#: Kafka deletes messages that are older than a week, by their own timestamps
KEPT = {"retention.ms": "-1"}


@pytest.fixture
def filled(elsa: Elsa, topic: Topics) -> str:
    """Two partitions; 0 holds three messages (08:00, 10:00, 10:00), 1 holds one (10:00)."""
    name = topic(partitions=2, config=KEPT)
    places = [(0, EIGHT), (0, TEN), (0, TEN), (1, TEN)]
    lines = [json.dumps({"value": "x", "partition": partition, "timestamp": time}) for partition, time in places]
    elsa("produce", name, "--json-lines", stdin="\n".join(lines))
    return name


@pytest.fixture
def billing(elsa: Elsa, group: Groups, filled: str) -> str:
    """A group at the beginning of `filled`."""
    name = group()
    ran = elsa("groups", "reset", name, "--to", "earliest", "--topic", filled, "--yes")
    assert ran.code == exits.OK, ran.err
    return name


def committed(elsa: Elsa, group: str) -> dict[int, int | None]:
    rows = json.loads(elsa("groups", "lag", group, "--json").out)
    return {row["partition"]: row["committed"] for row in rows}


def test_groups_are_listed_with_their_state(elsa: Elsa, billing: str) -> None:
    lines = [line.split() for line in elsa("groups", "list").out.splitlines()]
    rows: list[dict[str, Any]] = json.loads(elsa("groups", "list", "--json").out)

    assert lines[0] == ["name", "state", "protocol"]
    assert [billing, "empty", "classic"] in [[cell.lower() for cell in line] for line in lines]
    assert billing in {row["name"] for row in rows}


def test_lag_is_shown_by_partition_and_together(elsa: Elsa, billing: str, filled: str) -> None:
    ran = elsa("groups", "lag", billing)

    assert [line.split() for line in ran.out.splitlines()] == [
        ["topic", "partition", "committed", "low", "high", "lag"],
        [filled, "0", "0", "0", "3", "3"],
        [filled, "1", "0", "0", "1", "1"],
    ]
    assert ran.err == "4 messages behind\n"


def test_a_description_says_that_nobody_is_there(elsa: Elsa, billing: str) -> None:
    found = json.loads(elsa("groups", "describe", billing, "--json").out)

    assert found["state"].lower() == "empty"
    assert found["members"] == []
    assert "empty" in elsa("groups", "describe", billing).out.lower()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--to", "latest"], {0: 3, 1: 1}),
        (["--to", "2"], {0: 2, 1: 1}),
        (["--to", "2026-01-31T09:00Z"], {0: 1, 1: 0}),
        (["--to", "latest", "-p", "0"], {0: 3, 1: 0}),
    ],
)
def test_offsets_move_to_a_place(arguments: list[str], expected: dict[int, int], elsa: Elsa, billing: str) -> None:
    ran = elsa("groups", "reset", billing, *arguments, "--yes")

    assert ran.code == exits.OK
    assert committed(elsa, billing) == expected


def test_a_dry_run_shows_the_changes_and_changes_nothing(elsa: Elsa, billing: str, filled: str) -> None:
    ran = elsa("groups", "reset", billing, "--to", "latest", "--dry-run")

    assert ran.code == exits.OK
    assert [line.split() for line in ran.out.splitlines()] == [
        ["topic", "partition", "before", "after"],
        [filled, "0", "0", "3"],
        [filled, "1", "0", "1"],
    ]
    assert "nothing was changed (--dry-run)" in ran.err
    assert committed(elsa, billing) == {0: 0, 1: 0}


def test_the_changes_in_json_say_whether_they_were_made(elsa: Elsa, billing: str, filled: str) -> None:
    dry = json.loads(elsa("groups", "reset", billing, "--to", "1", "-p", "0", "--dry-run", "--json").out)
    done = json.loads(elsa("groups", "reset", billing, "--to", "1", "-p", "0", "--yes", "--json").out)

    offsets = [{"topic": filled, "partition": 0, "before": 0, "after": 1}]
    assert dry == {"group": billing, "changed": False, "offsets": offsets}
    assert done == {"group": billing, "changed": True, "offsets": offsets}


def test_without_anybody_to_ask_the_changes_are_shown_and_not_made(elsa: Elsa, billing: str) -> None:
    ran = elsa("groups", "reset", billing, "--to", "latest")

    assert ran.code == exits.USAGE
    assert "before  after" in ran.out
    assert "add --yes" in ran.err
    assert committed(elsa, billing) == {0: 0, 1: 0}


@pytest.mark.parametrize(("answer", "after"), [("n\n", {0: 0, 1: 0}), ("y\n", {0: 3, 1: 1})])
def test_a_person_decides_after_seeing_the_changes(
    answer: str, after: dict[int, int], elsa: Elsa, billing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elsa.cli.output.can_ask", lambda: True)

    ran = elsa("groups", "reset", billing, "--to", "latest", stdin=answer)

    assert f"Move 2 offsets of {billing}?" in ran.err
    assert committed(elsa, billing) == after


@pytest.mark.parametrize("verb", [["describe"], ["lag"], ["reset", "--to", "earliest"], ["delete", "--yes"]])
def test_a_group_that_does_not_exist_is_named_with_a_near_one(verb: list[str], elsa: Elsa, billing: str) -> None:
    ran = elsa("groups", verb[0], f"{billing}x", *verb[1:])

    assert ran.code == exits.NOT_FOUND
    assert f"did you mean '{billing}'?" in ran.err


def test_a_group_is_deleted_only_after_yes(elsa: Elsa, billing: str) -> None:
    refused = elsa("groups", "delete", billing)
    done = elsa("groups", "delete", billing, "--yes")

    assert (refused.code, done.code) == (exits.USAGE, exits.OK)
    assert elsa("groups", "describe", billing).code == exits.NOT_FOUND


@pytest.fixture
def served(elsa: Elsa, group: Groups, filled: str) -> Iterator[str]:
    """A group with one member that has read `filled` to its end."""
    name = group()
    app = App(name, brokers=elsa.brokers, runtime_dir=str(elsa.folder))
    handled = threading.Semaphore(0)

    @app.handler(filled, group=name)
    def bill(order: bytes) -> None:
        handled.release()

    with app:
        assert all(handled.acquire(timeout=60) for _ in range(4))
        yield name


def test_members_are_shown_with_their_partitions(elsa: Elsa, served: str, filled: str) -> None:
    found = json.loads(elsa("groups", "describe", served, "--json").out)
    shown = elsa("groups", "describe", served).out

    (member,) = found["members"]
    assert found["state"].lower() == "stable"
    assert member["partitions"] == [{"topic": filled, "partition": 0}, {"topic": filled, "partition": 1}]
    assert f"{filled}[0], {filled}[1]" in shown
    assert member["host"] in shown


@pytest.mark.parametrize("verb", [["reset", "--to", "earliest"], ["delete"]])
def test_a_group_that_is_at_work_is_left_alone(verb: list[str], elsa: Elsa, served: str) -> None:
    ran = elsa("groups", verb[0], served, *verb[1:], "--yes")

    assert ran.code == exits.FAILED
    assert f"group '{served}' still has 1 members" in ran.err
    assert "stop its workers first" in ran.err


def test_brokers_that_do_not_answer_are_named(elsa: Elsa) -> None:
    ran = elsa("groups", "list", "-b", "127.0.0.1:1")

    assert (ran.code, ran.out) == (exits.BROKER, "")
    assert "127.0.0.1:1" in ran.err
