"""The options that several commands share, and how their values are read."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from elsa.cli import is_debugging, set_debugging
from elsa.clock import SYSTEM
from elsa.units import per_second, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.app import App
    from elsa.config import Loaded, Settings

F = TypeVar("F", bound="Callable[..., Any]")


def common(*, app: bool = True, brokers: bool = True, json: bool = False) -> Callable[[F], F]:
    """Adds `-b/--brokers`, `-A/--app`, `--json` (as `as_json`) and `--debug` to a command."""

    def decorate(function: F) -> F:
        function = click.option(
            "--debug", is_flag=True, expose_value=False, callback=set_debugging, help="Show tracebacks."
        )(function)
        if json:
            function = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)
        if app:
            function = click.option(
                "-A", "--app", envvar="ELSA_APP", show_envvar=True, help="Use the settings of this app (module:app)."
            )(function)
        if brokers:
            function = click.option("-b", "--brokers", help="Kafka's addresses, host:port[,...].")(function)
        return function

    return decorate


def loaded_of(app: str | App | None, brokers: str | None) -> Loaded:
    """The settings of the (named) app, else of the environment and files; `brokers` wins over both."""
    from elsa.config import load, override
    from elsa.loading import load_app

    # librdkafka's own lines repeat what the error says; --debug and the worker show them
    if not is_debugging():
        logging.getLogger("elsa").addHandler(logging.NullHandler())
    if app is None:
        return load({} if brokers is None else {"brokers": brokers})
    return override((load_app(app) if isinstance(app, str) else app).loaded, brokers=brokers)


def settings_of(app: str | None, brokers: str | None) -> Settings:
    """As `loaded_of`, without where they came from."""
    return loaded_of(app, brokers).settings


def examples(*lines: str) -> str:
    """The epilog of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


class Place(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on, plain in 8.2
    """A place in a topic: earliest, latest, an offset, a time (ISO 8601), or a time ago (`-1h`)."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int | datetime:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # a default that was converted already
        text = value.strip()
        if text in ("earliest", "latest"):
            return text
        if text.isdecimal():
            return int(text)
        if re.fullmatch(r"-\d+(\.\d+)?(ms|s|m|h|d)", text):
            return datetime.fromtimestamp(SYSTEM.now() - seconds(text[1:]), UTC)
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            self.fail(
                f"{value!r} is none of earliest, latest, an offset (42), a time (2026-01-31T08:00) or ago (-1h)",
                param,
                ctx,
            )
        return found if found.tzinfo else found.astimezone()


class Moment(Place):
    """A time (ISO 8601), or a time ago (`-1h`)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            found = super().convert(value, param, ctx)
        except click.BadParameter:
            found = ""
        if not isinstance(found, datetime):
            self.fail(f"{value!r} is neither a time (2026-01-31T08:00) nor ago (-1h)", param, ctx)
        return found


class LetterPlace(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on, plain in 8.2
    """`partition:offset` as a tuple."""

    name = "partition:offset"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        partition, colon, offset = str(value).partition(":")
        if not (colon and partition.isdecimal() and offset.isdecimal()):
            self.fail(f"{value!r} is not partition:offset, like 0:17", param, ctx)
        return int(partition), int(offset)


class Rate(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on, plain in 8.2
    """So many a second: 100, 100/s, 10/m."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return per_second(value)
        except ValueError:
            self.fail(f"{value!r} is no rate above 0, like 100, 100/s or 10/m", param, ctx)


class Seconds(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on, plain in 8.2
    """A duration: 30, 1.5, 500ms, 30s, 5m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return seconds(value)
        except ValueError as error:
            self.fail(f"{value!r} is not {error}", param, ctx)


class Pair(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on, plain in 8.2
    """`name=value` as a tuple."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, text = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not name=value", param, ctx)
        return name, text
