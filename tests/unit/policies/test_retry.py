"""When a failed message is tried again."""

from __future__ import annotations

from typing import Any

import pytest

from elsa.errors import DeclarationError, DecodeError, Reject, RetryLater, Skip
from elsa.outcome import Kind
from elsa.policies.retry import NEVER, Retry


@pytest.mark.parametrize(
    ("retry", "error", "attempt", "kind", "reason"),
    [
        (Retry(), ValueError(), 1, Kind.RETRY, ""),
        (Retry(max_attempts=3), ValueError(), 3, Kind.DEAD, "exhausted"),
        (NEVER, ValueError(), 1, Kind.DEAD, "exhausted"),
        (Retry(on=(KeyError,)), ValueError(), 1, Kind.DEAD, "rejected"),
        (Retry(on=(LookupError,)), KeyError(), 1, Kind.RETRY, ""),
        (Retry(ignore=(ValueError,)), ValueError(), 1, Kind.DEAD, "rejected"),
        (Retry(when=lambda attempt, _: attempt < 2), ValueError(), 1, Kind.RETRY, ""),
        (Retry(when=lambda attempt, _: attempt < 2), ValueError(), 2, Kind.DEAD, "rejected"),
        (Retry(), Skip(), 1, Kind.SKIPPED, "skipped by the handler"),
        (Retry(), Reject("no"), 1, Kind.DEAD, "rejected"),
        (Retry(), DecodeError(), 1, Kind.DEAD, "decode"),
        (NEVER, RetryLater(5), 1, Kind.DEAD, "exhausted"),
    ],
)
def test_decisions(retry: Retry, error: BaseException, attempt: int, kind: Kind, reason: str) -> None:
    outcome = retry.decide(error, attempt, age=None)

    assert (outcome.kind, outcome.reason) == (kind, reason)


def test_retry_later_says_how_long() -> None:
    assert Retry().decide(RetryLater(7.5), 1, None).delay == 7.5


def test_pauses_grow_to_the_limit() -> None:
    retry = Retry(base=1, factor=3, max_delay=10, jitter=False)

    assert [retry.delay(n) for n in (1, 2, 3, 4, 500)] == [1, 3, 9, 10, 10]


def test_jitter_draws_from_zero_to_the_pause() -> None:
    retry = Retry(base=8, max_delay=8)
    drawn = [retry.delay(1) for _ in range(200)]

    assert all(0 <= pause <= 8 for pause in drawn)
    assert max(drawn) - min(drawn) > 4


def test_an_old_message_is_not_tried_again() -> None:
    retry = Retry(max_age=60)

    assert retry.decide(ValueError(), 1, age=61).kind is Kind.DEAD
    assert retry.decide(ValueError(), 1, age=59).kind is Kind.RETRY
    assert retry.decide(ValueError(), 1, age=None).kind is Kind.RETRY


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": 1.5},
        {"max_age": -1},
        {"base": -1},
        {"factor": 0.5},
        {"where": "disk"},
        {"on": ("x",)},
        {"ignore": (3,)},
    ],
)
def test_wrong_policies_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError):
        Retry(**wrong)


def test_one_class_may_stand_alone() -> None:
    assert Retry(on=KeyError).on == (KeyError,)  # type: ignore[arg-type]  # accepted for convenience


def test_the_banner_line() -> None:
    assert Retry().describe() == "5 attempts, 1 s x 2 up to 300 s, full jitter"
    assert NEVER.describe() == "no retries"


@pytest.mark.parametrize(
    ("where", "ordering", "delay", "moves"),
    [
        ("auto", "none", 10.1, True),
        ("auto", "none", 10.0, False),
        ("auto", "key", 3_600, False),
        ("auto", "partition", 3_600, False),
        ("topic", "partition", 0.1, True),
        ("memory", "none", 3_600, False),
        # nothing of this handler can be moved: it is standalone
        ("auto", None, 3_600, False),
    ],
)
def test_where_it_waits(where: Any, ordering: str | None, delay: float, moves: Any) -> None:
    outcome = Retry(where=where).decide(RetryLater(delay), 1, None, ordering=ordering)

    assert outcome.kind is (Kind.MOVED if moves else Kind.RETRY)
    assert (outcome.delay, outcome.attempt) == (delay, 1)


def test_each_exception_can_have_a_policy_of_its_own() -> None:
    retry = Retry(per={KeyError: None, LookupError: Retry(max_attempts=9, base=60, jitter=False, where="topic")})

    assert retry.decide(KeyError(), 1, None).kind is Kind.DEAD
    assert retry.decide(ValueError(), 1, None).kind is Kind.RETRY
    found = retry.decide(IndexError(), 6, None)
    assert (found.kind, found.delay) == (Kind.MOVED, 300.0)
    assert (retry.always_moves, Retry(per={KeyError: None}).always_moves) == (True, False)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"where": "disk"}, "where='disk'"),
        ({"per": {"KeyError": None}}, "is no exception class"),
        ({"per": {KeyError: 3}}, "which is no Retry"),
        ({"max_attempts": 2.5}, "is no whole number"),
        ({"max_age": -1}, "is below 0 seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: Any, text: str) -> None:
    with pytest.raises(DeclarationError, match=text):
        Retry(**options)


@pytest.mark.parametrize(
    "wrong",
    [{"when": 3}, {"jitter": "x"}, {"on": 3}, {"on": "abc"}, {"max_age": "1h"}, {"base": None}, {"ignore": [3]}],
)
def test_what_makes_no_sense_is_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(DeclarationError, match=rf"Retry\({name}="):
        Retry(**wrong)
