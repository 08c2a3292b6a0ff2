"""Options are checked when a handler is declared."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from elsa.errors import DeclarationError
from elsa.options import check, check_topics
from elsa.policies.retry import NEVER, Retry


@pytest.mark.parametrize("retry", [Retry(where="topic"), Retry(per={OSError: Retry(where="topic")})])
def test_a_standalone_handler_has_no_retry_topic(retry: Retry) -> None:
    with pytest.raises(DeclarationError, match="needs a group, a standalone handler has no retry topic"):
        check("handler h", None, {"retry": retry})
    assert check("handler h", "g", {"retry": retry}).retry is retry


def test_the_only_value_of_a_later_option_is_accepted() -> None:
    options = check("handler h", "g", {"ordering": "partition", "delivery": "at_least_once", "transactional": False})

    assert options.ordering == "partition"


def test_an_unknown_option_names_the_near_one() -> None:
    with pytest.raises(DeclarationError, match=r"unknown option 'concurency'\n  hint: did you mean 'concurrency'"):
        check("handler h", "g", {"concurency": 3})


@pytest.mark.parametrize(
    "given",
    [
        {"concurrency": 0},
        {"concurrency": True},
        {"batch": -1},
        {"batch_wait": 1},
        {"batch": 10, "max_in_flight": 5},
        {"timeout": 0},
        {"dead_letter": "no topic"},
        {"dead_letter": False},
        {"topic_config": 5},
        {"batch_wait": "1"},
        {"timeout": -1},
        {"start": "newest"},
        {"start": -3},
        {"start": datetime(2026, 1, 1)},  # noqa: DTZ001 - the missing zone is the point
        {"start": {0: "latest", 1: "x"}},
        {"on_out_of_range": "none"},
        {"retry": 5},
        {"partitions": [0]},
        {"codec": "yaml"},
        {"max_in_flight": 0},
        {"executor": "gevent"},
        {"on_exhausted": "drop"},
        {"max_dead_ratio": 1},
        {"max_dead_ratio": -0.1},
        {"max_dead_ratio": True},
        {"max_dead_ratio": 0.5, "delivery": "at_most_once"},
        {"max_dead_ratio": 0.5, "retry": Retry(where="topic")},
    ],
)
def test_wrong_values_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError):
        check("handler h", "g", given)


def test_partitions_belong_to_standalone_handlers() -> None:
    assert check("handler h", None, {"partitions": 1}).partitions == (1,)
    with pytest.raises(DeclarationError, match="no list of partition numbers"):
        check("handler h", None, {"partitions": [1, 1]})


def test_no_retry_means_one_attempt() -> None:
    assert check("h", "g", {"retry": None}).retry is NEVER
    assert check("h", "g", {"retry": False}).retry is NEVER
    assert check("h", "g", {}).retry == Retry()


@pytest.mark.parametrize("topics", ["", [], ["a", "a"], "bad topic", "^[", ["ok", "x" * 250], [3], None, 5, ".", ".."])
def test_wrong_topics_are_refused(topics: Any) -> None:
    with pytest.raises(DeclarationError):
        check_topics("handler h", topics)


def test_topics_may_be_a_name_a_list_or_a_regex() -> None:
    assert check_topics("h", "orders") == ("orders",)
    assert check_topics("h", ["a", "b"]) == ("a", "b")
    assert check_topics("h", r"^orders\..*") == (r"^orders\..*",)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"rate": "30/m"}, {"rate": 0.5}),
        ({"rate": 7}, {"rate": 7.0}),
        ({"buckets": [0.5, 2]}, {"buckets": (0.5, 2.0)}),
        ({"ordering": "key", "concurrency": 64}, {"ordering": "key", "concurrency": 64}),
        (
            {"executor": "process", "max_tasks_per_child": 9, "max_memory_per_child": "64MB"},
            {"executor": "process", "max_tasks_per_child": 9, "max_memory_per_child": 64 * 1024 * 1024},
        ),
    ],
)
def test_what_is_given_as_people_write_it(given: dict[str, Any], found: dict[str, Any]) -> None:
    options = check("handler h", "g", given)

    assert {name: getattr(options, name) for name in found} == found


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"rate": "fast"}, "rate='fast' is not a rate above 0"),
        ({"rate": 0}, "rate=0 is not a rate above 0"),
        ({"buckets": [2, 1]}, r"buckets=\[2, 1\] is not rising numbers above 0"),
        ({"ordering": "keys"}, "ordering='keys' is unknown"),
        ({"executor": "fork"}, "executor='fork' is unknown"),
        ({"max_tasks_per_child": 5}, 'max_tasks_per_child=5 without executor="process"'),
        ({"max_memory_per_child": "1GB"}, "without executor="),
        ({"executor": "process", "max_memory_per_child": "much"}, "is not a size"),
    ],
)
def test_what_makes_no_sense_is_refused_at_declaration(given: dict[str, Any], text: str) -> None:
    with pytest.raises(DeclarationError, match=text):
        check("handler h", "g", given)
