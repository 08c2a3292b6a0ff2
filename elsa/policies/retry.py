"""When a failed message is tried again, and when it is given up: a pure decision, called by the delivery."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from elsa.errors import DeclarationError, DecodeError, Reject, RetryLater, Skip
from elsa.outcome import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: with `where="auto"` a message that nothing has to wait for is moved to a delay topic for longer waits than this
MOVE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and with which pauses a failing message is tried again before it becomes a dead letter.

    `max_attempts` counts the first try. The pause before attempt n+1 is `base * factor ** (n - 1)` seconds,
    at most `max_delay`; with `jitter` it is drawn evenly from 0 to that ("full jitter"). Exceptions that
    are in `ignore`, or not in `on`, or for which `when(attempt, error)` is false, are not retried.
    `max_age` seconds after the message's timestamp no further attempt begins. `per` has policies of their own
    for classes of exceptions, the first that fits is used (None: no retry).

    `where` says how a message waits: "memory" in its lane, so that what has to come after it waits too; "topic" in
    a delay topic, so that others pass it and nothing is held; "auto" in its lane where the handler keeps an order,
    and with `ordering="none"` in a delay topic when it waits longer than 10 s.

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
    per: Mapping[Any, Retry | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.where not in ("auto", "memory", "topic"):
            raise DeclarationError(f"Retry(where={self.where!r}) is unknown", hint='use "auto", "memory" or "topic"')
        if not isinstance(self.max_attempts, int):
            raise DeclarationError(f"Retry(max_attempts={self.max_attempts!r}) is no whole number")
        for name in ("base", "factor", "max_delay", "max_age"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) or (name == "max_age" and value is None)):
                raise DeclarationError(f"Retry({name}={value!r}) is no number", hint="durations are in seconds")
        if self.max_age is not None and self.max_age < 0:
            raise DeclarationError(f"Retry(max_age={self.max_age!r}) is below 0 seconds")
        if self.max_attempts < 1:
            raise DeclarationError(f"Retry(max_attempts={self.max_attempts}) is below 1", hint="1 means: never again")
        if self.base < 0 or self.factor < 1 or self.max_delay < 0:
            raise DeclarationError("Retry needs base >= 0, factor >= 1 and max_delay >= 0 seconds")
        if self.when is not None and not callable(self.when):
            raise DeclarationError(f"Retry(when={self.when!r}) is no function of (attempt, error)")
        if not isinstance(self.jitter, bool):
            raise DeclarationError(f"Retry(jitter={self.jitter!r}) is neither True nor False")
        for name in ("on", "ignore"):
            given = getattr(self, name)
            kinds = (given,) if isinstance(given, type) else given
            is_list = isinstance(kinds, Iterable) and not isinstance(kinds, str)
            if not is_list or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
                raise DeclarationError(f"Retry({name}={given!r}) takes exception classes")
            object.__setattr__(self, name, tuple(kinds))
        for kind, policy in self.per.items():
            if not isinstance(kind, type) or not issubclass(kind, BaseException):
                raise DeclarationError(f"Retry(per=...) has {kind!r}, which is no exception class")
            if not (policy is None or isinstance(policy, Retry)):
                raise DeclarationError(f"Retry(per=...) has {policy!r}, which is no Retry", hint="None: no retry")

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the `attempt`-th failure."""
        # the exponent is bounded, or a long series would overflow a float
        limit = min(self.max_delay, self.base * self.factor ** min(attempt - 1, 64))
        return random.uniform(0, limit) if self.jitter else float(limit)  # noqa: S311 - no secret

    def decide(
        self, error: BaseException, attempt: int, age: float | None, *, ordering: str | None = "partition"
    ) -> Outcome:
        """What becomes of a message whose `attempt`-th call raised `error`; `age` seconds since its timestamp.

        `ordering` is the handler's, None where no message can be moved to a topic.
        """
        policy = self._policy(error)
        if policy is not self:
            return policy.decide(error, attempt, age, ordering=ordering)
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
            delay = max(0.0, error.delay)
        elif self._is_wanted(error, attempt):
            delay = self.delay(attempt)
        else:
            return Outcome(Kind.DEAD, reason="rejected", error=error, attempt=attempt)
        kind = Kind.MOVED if self._moves(delay, ordering) else Kind.RETRY
        return Outcome(kind, delay=delay, error=error, attempt=attempt)

    def _policy(self, error: BaseException) -> Retry:
        """The policy for an exception: one of `per`, else this one."""
        for kind, policy in self.per.items():
            if isinstance(error, kind):
                return NEVER if policy is None else policy
        return self

    def _moves(self, delay: float, ordering: str | None) -> bool:
        if ordering is None or self.where == "memory":
            return False
        return self.where == "topic" or (ordering == "none" and delay > MOVE_SECONDS)

    @property
    def always_moves(self) -> bool:
        """Whether messages of any handler go to a topic, which ends their order."""
        return self.where == "topic" or any(one is not None and one.always_moves for one in self.per.values())

    def _is_wanted(self, error: BaseException, attempt: int) -> bool:
        if isinstance(error, self.ignore) or not isinstance(error, self.on):
            return False
        return self.when is None or bool(self.when(attempt, error))

    def describe(self) -> str:
        """One line for the banner."""
        if self.max_attempts == 1:
            return "no retries"
        jitter = ", full jitter" if self.jitter else ""
        where = ", by topic" if self.where == "topic" else ""
        others = f", {len(self.per)} exceptions otherwise" if self.per else ""
        pauses = f"{self.base:g} s x {self.factor:g} up to {self.max_delay:g} s"
        return f"{self.max_attempts} attempts, {pauses}{jitter}{where}{others}"


DEFAULT = Retry()
NEVER = Retry(max_attempts=1)
