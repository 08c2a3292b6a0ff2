"""What Elsa promises to keep: the names at its root. A change here is a change for every user."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import elsa

NAMES = [
    "ACK",
    "App",
    "BatchError",
    "CONTINUE",
    "Context",
    "DEFER",
    "Delivery",
    "ElsaError",
    "FetchResult",
    "Message",
    "Record",
    "RecordMetadata",
    "Reject",
    "RejectAssignment",
    "Retry",
    "RetryLater",
    "Skip",
    "TopicPartition",
    "ack_through",
    "cancel",
    "create_topic",
    "current",
    "default_app",
    "delete_topic",
    "fetch",
    "get_app",
    "handler",
    "list_topics",
    "produce",
    "search",
    "search_keys",
    "search_values",
    "send",
    "stream",
    "task",
    "topic_exists",
]


def test_the_public_names_are_these() -> None:
    assert elsa.__all__ == NAMES


def test_they_are_sorted_and_at_most_45() -> None:
    assert sorted(elsa.__all__) == elsa.__all__
    assert len(elsa.__all__) <= 45


@pytest.mark.parametrize("name", NAMES)
def test_each_name_resolves_and_is_listed(name: str) -> None:
    assert getattr(elsa, name) is not None
    assert name in dir(elsa)


@pytest.mark.parametrize("name", NAMES)
def test_each_class_and_function_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(elsa, name)
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        # the named results are members of an enumeration, which is what has a docstring
        value = type(value)

    assert (value.__doc__ or "").strip()
    bases = value.__mro__[1:] if inspect.isclass(value) else ()
    assert value.__doc__ not in {base.__doc__ for base in bases}


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'elsa' has no attribute 'nothing'"):
        elsa.nothing  # noqa: B018 - reading it is what is tested


def test_importing_elsa_loads_no_client() -> None:
    code = "import elsa, sys; print([m for m in ('confluent_kafka', 'rich', 'click', 'msgspec') if m in sys.modules])"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
