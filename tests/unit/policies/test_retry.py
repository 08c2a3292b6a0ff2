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
