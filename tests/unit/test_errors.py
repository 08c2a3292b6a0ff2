"""Errors carry their facts, also out of the child process that has raised them."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest

from elsa import errors


class Busy(errors.RetryLater):
    """A user's own, made in its own way."""

    def __init__(self, *, shop: str) -> None:
        super().__init__(5, f"{shop} is busy")
        self.shop = shop


@pytest.mark.parametrize(
    "error",
    [
        errors.RetryLater(5),
        errors.RetryLater(5, "later"),
        errors.Reject("bad"),
        errors.Skip(),
        errors.RejectAssignment(),
        errors.BatchError(3, ValueError("this one")),
        errors.DecodeError("no JSON", topic="t", partition=1, offset=2, hint="look at it"),
        errors.HandlerTimeout("late"),
        errors.BrokerUnavailable("nobody answers", code="_TRANSPORT", retryable=True),
        errors.UnknownTopic("no topic", topic="t"),
        errors.ConfigError("no"),
        errors.BufferFull("full", code="_QUEUE_FULL", retryable=True),
        Busy(shop="ann's"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_goes_to_another_process_and_stays_what_it_was(error: BaseException) -> None:
    found = pickle.loads(pickle.dumps(error))

    def facts(one: BaseException) -> dict[str, Any]:
        return {name: repr(value) for name, value in vars(one).items()}

    assert (type(found), str(found), facts(found)) == (type(error), str(error), facts(error))


def test_a_wait_is_seconds_or_a_timedelta() -> None:
    assert errors.RetryLater(timedelta(minutes=1)).delay == 60.0
    assert str(errors.RetryLater(3)) == "retry in 3 s"


@pytest.mark.parametrize("delay", ["3", None, True, float("inf"), float("nan"), 1e12, -1, timedelta(-1)])
def test_a_wait_that_is_none_is_refused_where_it_is_raised(delay: Any) -> None:
    with pytest.raises(TypeError, match="neither a number of seconds nor a timedelta"):
        errors.RetryLater(delay)
