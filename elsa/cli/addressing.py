"""The options of `elsa inspect` and `elsa control` that say whom a command is for, and how it ends."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from elsa import exits
from elsa.cli import output
from elsa.cli.parameters import Seconds, common, loaded_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from elsa.config import Settings
    from elsa.control.client import Answers
    from elsa.control.protocol import Target


@dataclass(frozen=True, slots=True)
class Workers:
    """The running workers that are meant."""

    settings: Settings
    target: Target
    timeout: float

    @property
    def is_everybody(self) -> bool:
        """Whether nothing says which handler, group or topic is meant."""
        target = self.target
        return target.handler is None and target.group is None and target.topic is None

    def call(self, name: str, arguments: Mapping[str, Any] | None = None) -> Answers:
        """What they answer; raises when none of them has done it."""
        from elsa.control.client import Caller

        answers = Caller(self.settings).call(name, self.target, arguments, timeout=self.timeout)
        if not answers.results:
            answers.check(self.target, self.settings.name, self.timeout)
        return answers

    def ending(self, answers: Answers) -> int | None:
        """Say who has refused or not answered; the exit code."""
        for name, why in answers.refused.items():
            output.fail(f"{name}: {why}")
        for name in answers.missing:
            output.fail(f"{name}: no answer within {self.timeout:g} s")
        return exits.FAILED if answers.refused or answers.missing else None


def addressed(*, handler: bool = True) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Gives a command the options of whom it is for, as one argument `workers`, and `as_json`.

    Without `handler` it is for worker processes as a whole.
    """

    def decorate(function: Callable[..., int | None]) -> Callable[..., int | None]:
        @functools.wraps(function)
        def run(**given: Any) -> int | None:
            names = ("worker", "handler", "group", "topic", "partition") if handler else ("worker",)
            where = _taken(given, *names)
            return function(workers=_workers(where, **_taken(given, "app", "brokers", "name", "timeout")), **given)

        return _options(run, handler=handler)

    return decorate


def _taken(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: given.pop(name) for name in names}


def _workers(
    where: Mapping[str, Any], *, app: str | None, brokers: str | None, name: str | None, timeout: float
) -> Workers:
    from elsa.config import override
    from elsa.control.protocol import Target

    if where.get("partition") is not None and where["topic"] is None:
        raise click.UsageError("-p names a partition of a topic: add -t TOPIC")
    return Workers(override(loaded_of(app, brokers), name=name).settings, Target(**where), timeout)


def _options(run: Callable[..., int | None], *, handler: bool) -> Callable[..., int | None]:
    run = common(json=True)(run)
    run = click.option(
        "--timeout", type=Seconds(), default="2s", show_default=True, help="How long answers are waited for."
    )(run)
    if handler:
        run = click.option("-p", "--partition", type=click.IntRange(0), help="Only this partition of the topic.")(run)
        run = click.option("-t", "--topic", help="Only this topic.")(run)
        run = click.option("-g", "--group", help="Only this consumer group.")(run)
        run = click.option("-H", "--handler", help="Only this handler.")(run)
    run = click.option("-w", "--worker", help="Only this worker process: its name, or the number of its slot.")(run)
    return click.option("-n", "--name", help="The app's name, where -A is not given.")(run)
