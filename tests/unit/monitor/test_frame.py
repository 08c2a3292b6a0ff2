"""What `elsa top` shows: the rows of a look, what workers have told, and what is missing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from elsa.monitor.frame import chosen, frame
from elsa.monitor.look import Failure
from elsa.monitor.speeds import Rate

from .sights import group, look, partition, report, tally

TOLD = {"group": "billing", "topic": "orders", "partition": 0, "paused": "operator", "head_attempts": 4}


def test_partitions_know_what_their_worker_has_told() -> None:
    reports = {"shop-host-0": report(998.0, tally(), partitions=[TOLD], running=2)}
    found = frame(
        look(group(partition(), partition(1)), reports=reports),
        {("billing", "orders", 0): Rate(2.0, 3.0)},
        {("billing", "orders", 1): "stall"},
        "shop",
    )

    first, second = found.partitions
    assert (first.paused, first.head_attempts) == ("operator", 4)
    assert (first.done, first.incoming, first.grade) == (2.0, 3.0, None)
    assert (second.paused, second.head_attempts, second.done, second.grade) == (None, None, None, "stall")
    (one,) = found.groups
    assert (one.lag, one.done, one.grade, one.members) == (6, 2.0, "stall", 1)
    (worker,) = found.workers
    assert (worker.state, worker.running, worker.partitions, worker.silent) == ("ready", 2, 1, 2.0)
    assert [row.handler for row in found.handlers] == ["shop.bill"]
    assert found.notes == ()


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, "ready"),
        ({"is_ready": False}, "starting"),
        ({"is_quiet": True}, "quiet"),
        ({"is_quiet": True, "is_stopping": True}, "stopping"),
    ],
)
def test_the_state_of_a_worker(facts: dict[str, Any], state: str) -> None:
    (worker,) = frame(look(reports={"a": report(999.0, **facts)}), {}, {}, "shop").workers

    assert worker.state == state


def test_a_worker_that_was_killed_is_silent_and_its_numbers_are_left_out() -> None:
    reports = {"shop-host-0": report(980.0, tally(), partitions=[TOLD])}
    found = frame(look(group(partition()), reports=reports), {}, {}, "shop")

    assert [(row.worker, row.state) for row in found.workers] == [("shop-host-0", "silent")]
    assert (found.handlers, found.partitions[0].paused) == ((), None)
    assert found.notes == (
        "handlers and pauses are unknown: no worker of 'shop' reports",
        "shop-host-0 has been silent for 20 s: its numbers are left out",
    )


def test_what_is_missing_is_said() -> None:
    nothing = frame(look(reports=None), {}, {}, "shop")
    embedded = frame(look(reports={"a": report(999.0, tallies=None)}), {}, {}, "shop")
    failing = frame(
        look(group(state="dead", name="nobody"), failures=(Failure("group", "mail", "X", "no answer"),)), {}, {}, "shop"
    )

    assert "there is no topic shop.status" in nothing.notes[0]
    assert "a counts nothing: it runs in a program of its own" in embedded.notes[0]
    assert failing.notes[1:] == ("group mail: no answer",)
    assert failing.unknown == ("nobody",)


def rows(sort: str, only: str = "") -> list[str]:
    whole = frame(
        look(
            group(partition(0, lag=1, lag_seconds=9.0), partition(1, lag=9, lag_seconds=1.0), name="b"),
            group(partition(0, topic="mails", lag=5, lag_seconds=None), name="a"),
        ),
        {("b", "orders", 0): Rate(7.0, 0.0)},
        {("b", "orders", 0): "stop"},
        "shop",
    )
    return [f"{row.group} {row.topic}[{row.partition}]" for row in chosen(whole, sort=sort, only=only).partitions]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("lag", ["b orders[1]", "a mails[0]", "b orders[0]"]),
        ("age", ["a mails[0]", "b orders[0]", "b orders[1]"]),
        ("rate", ["b orders[0]", "a mails[0]", "b orders[1]"]),
        ("grade", ["b orders[0]", "b orders[1]", "a mails[0]"]),
        ("name", ["a mails[0]", "b orders[0]", "b orders[1]"]),
    ],
)
def test_what_is_worst_comes_first(sort: str, expected: list[str]) -> None:
    assert rows(sort) == expected


def test_a_filter_looks_at_names() -> None:
    assert rows("name", "mail") == ["a mails[0]"]
    assert rows("name", "b") == ["b orders[0]", "b orders[1]"]
    assert rows("name", "nothing") == []


def test_a_frame_is_json() -> None:
    found = frame(look(group(partition()), reports={"a": report(999.0, tally(outcomes={"ok": 1}))}), {}, {}, "shop")
    document = json.loads(json.dumps(found.document()))

    assert document["groups"][0]["lag"] == 3
    assert document["handlers"][0]["outcomes"] == {"ok": 1}
