"""Counting dead letters by what they say."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from elsa.dead_letters import summary as module
from elsa.dead_letters.letter import DeadLetter
from elsa.dead_letters.summary import Summary, summarise

from .world import letter

if TYPE_CHECKING:
    import pytest


def test_an_empty_topic() -> None:
    assert summarise("t", []) == Summary("t")


def test_counts_and_times() -> None:
    letters = [
        DeadLetter.of(letter(0, 5, "bill", elsa_reason="exhausted", elsa_error_type="E")),
        DeadLetter.of(letter(0, 1, "mail", elsa_reason="rejected"), is_handled=True),
        DeadLetter.of(dataclasses.replace(letter(0, 3), timestamp=None)),
    ]

    found = summarise("t", letters)

    assert (found.open, found.handled, found.oldest, found.newest) == (2, 1, 1001.0, 1005.0)
    assert found.handlers == {"bill": 2, "mail": 1}
    assert found.reasons == {"exhausted": 1, "rejected": 1, "-": 1}
    assert found.errors == {"E": 1, "-": 2}


def test_names_without_end_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NAMES", 2)
    letters = [DeadLetter.of(letter(0, number, f"h{number % 5}")) for number in range(10)]

    assert summarise("t", letters).handlers == {"h0": 2, "h1": 2, "(others)": 6}
