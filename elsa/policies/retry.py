"""When a failed message is tried again, and when it is given up: a pure decision, called by the delivery."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from elsa.errors import DeclarationError, DecodeError, Reject, RetryLater, Skip, UnsupportedOption
from elsa.outcome import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and with which pauses a failing message is tried again before it becomes a dead letter.

    `max_attempts` counts the first try. The pause before attempt n+1 is `base * factor ** (n - 1)` seconds,
    at most `max_delay`; with `jitter` it is drawn evenly from 0 to that ("full jitter"). Exceptions that
    are in `ignore`, or not in `on`, or for which `when(attempt, error)` is false, are not retried.
    `max_age` seconds after the message's timestamp no further attempt begins.

    >>> Retry(max_attempts=3, base=2, jitter=False).delay(2)
    4.0
    """

    max_attempts: int = 5
    on: tuple[type[BaseException], ...] = (Exception,)
    ignore: tuple[type[BaseException], ...] = ()
    when: Callable[[int, BaseException], bool] | None = None
    base: float = 1.0
    factor: float = 2.0
    max_delay: float = 300.0
    jitter: bool = True
    max_age: float | None = None
    where: Literal["auto", "memory", "topic"] = "auto"

    def __post_init__(self) -> None:
        if self.where == "topic":
            raise UnsupportedOption(
                'Retry(where="topic") is not available yet', hint='use where="memory": the message waits in its lane'
            )
        if self.where not in ("auto", "memory"):
            raise DeclarationError(f"Retry(where={self.where!r}) is unknown", hint='use "auto" or "memory"')
        if not isinstance(self.max_attempts, int):
            raise DeclarationError(f"Retry(max_attempts={self.max_attempts!r}) is no whole number")
        if self.max_age is not None and self.max_age < 0:
            raise DeclarationError(f"Retry(max_age={self.max_age!r}) is below 0 seconds")
        if self.max_attempts < 1:
            raise DeclarationError(f"Retry(max_attempts={self.max_attempts}) is below 1", hint="1 means: never again")
        if self.base < 0 or self.factor < 1 or self.max_delay < 0:
            raise DeclarationError("Retry needs base >= 0, factor >= 1 and max_delay >= 0 seconds")
        for name in ("on", "ignore"):
            kinds = getattr(self, name)
            if isinstance(kinds, type):
                object.__setattr__(self, name, (kinds,))
            elif not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
                raise DeclarationError(f"Retry({name}=...) takes exception classes")

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the `attempt`-th failure."""
        # the exponent is bounded, or a long series would overflow a float
        limit = min(self.max_delay, self.base * self.factor ** min(attempt - 1, 64))
        return random.uniform(0, limit) if self.jitter else float(limit)  # noqa: S311 - no secret

    def decide(self, error: BaseException, attempt: int, age: float | None) -> Outcome:
        """What becomes of a message whose `attempt`-th call raised `error`; `age` seconds since its timestamp."""
        if isinstance(error, Skip):
            return Outcome(Kind.SKIPPED, reason=error.reason, attempt=attempt)
        if isinstance(error, Reject):
            return Outcome(Kind.DEAD, reason="rejected", error=error, attempt=attempt)
        if isinstance(error, DecodeError):
            return Outcome(Kind.DEAD, reason="decode", error=error, attempt=attempt)
        too_old = self.max_age is not None and age is not None and age >= self.max_age
        if attempt >= self.max_attempts or too_old:
            return Outcome(Kind.DEAD, reason="exhausted", error=error, attempt=attempt)
        if isinstance(error, RetryLater):
            return Outcome(Kind.RETRY, delay=max(0.0, error.delay), error=error, attempt=attempt)
        if not self._is_wanted(error, attempt):
            return Outcome(Kind.DEAD, reason="rejected", error=error, attempt=attempt)
        return Outcome(Kind.RETRY, delay=self.delay(attempt), error=error, attempt=attempt)

    def _is_wanted(self, error: BaseException, attempt: int) -> bool:
        if isinstance(error, self.ignore) or not isinstance(error, self.on):
            return False
        return self.when is None or bool(self.when(attempt, error))

    def describe(self) -> str:
        """One line for the banner."""
        if self.max_attempts == 1:
            return "no retries"
        jitter = ", full jitter" if self.jitter else ""
        return f"{self.max_attempts} attempts, {self.base:g} s x {self.factor:g} up to {self.max_delay:g} s{jitter}"


DEFAULT = Retry()
NEVER = Retry(max_attempts=1)
