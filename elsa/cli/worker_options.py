"""The options that `elsa worker` and `elsa dev` share, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from elsa.cli import set_debugging
from elsa.cli.parameters import Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

F = TypeVar("F", bound="Callable[..., Any]")


def _names(_context: click.Context, _parameter: click.Parameter, values: Iterable[str]) -> list[str]:
    """Comma lists, repeated, as one list without doubles."""
    return list(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))


def _weighted(context: click.Context, parameter: click.Parameter, values: Iterable[str]) -> dict[str, float | None]:
    """Topics with what stands behind a last colon, if it is a number above 0: a topic's name has no colon."""
    found: dict[str, float | None] = {}
    for text in _names(context, parameter, values):
        name, colon, weight = text.rpartition(":")
        if not colon:
            found[text] = None
            continue
        try:
            found[name] = float(weight)
        except ValueError:
            found[name] = 0.0
        if not name or not 0 < (found[name] or 0) < float("inf"):
            raise click.BadParameter(f"{text!r} is no topic and weight, like orders:3", context, parameter)
    return found


_LEVELS = ("debug", "info", "warning", "error", "critical")
_OPTIONS = (
    click.argument("target", required=False, metavar="[APP]"),
    click.option(
        "-A", "--app", envvar="ELSA_APP", show_envvar=True, help="The app, when APP is not given (module:app)."
    ),
    click.option("-c", "--concurrency", type=click.IntRange(1), help="Handlers that run at once, per process."),
    click.option(
        "-l",
        "--loglevel",
        "--log-level",
        "log_level",
        type=click.Choice(_LEVELS, case_sensitive=False),
        help="From which level on to log.",
    ),
    click.option(
        "-Q",
        "--topics",
        multiple=True,
        callback=_weighted,
        metavar="TOPIC[:WEIGHT],...",
        help="Only these topics; with weights (hi:3,lo:1) they share the places in that proportion.",
    ),
    click.option(
        "-X", "--exclude", multiple=True, callback=_names, help="All topics but these: a,b (may be repeated)."
    ),
    click.option("--processes", type=click.IntRange(1), help="Worker processes."),
    click.option("--drain-timeout", help="How long running handlers may finish when a partition goes (20s)."),
    click.option("--stop-timeout", help="How long a stop may take before it is forced (25s)."),
    click.option("--json-logs", is_flag=True, default=None, help="Log one JSON object a line, and no banner."),
    click.option(
        "--metrics-port", type=click.IntRange(0, 65535), help="Serve metrics and probes there; 0 takes any port."
    ),
    click.option("--http-host", help="Address of the metrics port (127.0.0.1)."),
    click.option(
        "--http-open",
        is_flag=True,
        default=None,
        help="Serve everybody who reaches it, also beyond this machine.",
    ),
    click.option("--http-cert", metavar="FILE", help="Serve TLS there with this certificate (PEM)."),
    click.option("--http-key", metavar="FILE", help="Its private key, where the certificate's file has none."),
    click.option("--http-client-ca", metavar="FILE", help="Only clients with a certificate of these authorities."),
    click.option("--group-protocol", type=click.Choice(["classic", "consumer"]), help="How groups are joined."),
    click.option("--set", "more", type=Pair(), multiple=True, metavar="NAME=VALUE", help="Any other setting."),
    click.option("--debug", is_flag=True, expose_value=False, callback=set_debugging, help="Show tracebacks."),
)


def worker_options(function: F) -> F:
    """Add them to a command, in this order."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


#: which folders a reload watches
reload_dir_option = click.option(
    "--reload-dir",
    "reload_dirs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Watch this folder, not the current one and the app's (may be repeated).",
)


def app_named(target: str | None, app: str | None) -> str:
    """The one app that a worker runs, of APP and -A or ELSA_APP; raises UsageError."""
    context = click.get_current_context()
    if target and app and context.get_parameter_source("app") is ParameterSource.COMMANDLINE and target != app:
        raise click.UsageError(f"{target} and -A {app} are two apps: a worker runs one")
    if (wanted := target or app) is None:
        raise click.UsageError(
            f"which app? `elsa {context.info_name} module:app`, -A module:app or ELSA_APP=module:app"
        )
    return wanted


def weights_given(topics: Mapping[str, float | None]) -> dict[str, float]:
    """The weights of -Q; empty when none was given, else 1 for those without.

    >>> weights_given({"hi": 3.0, "lo": None}), weights_given({"lo": None})
    ({'hi': 3.0, 'lo': 1.0}, {})
    """
    if all(weight is None for weight in topics.values()):
        return {}
    return {name: weight or 1.0 for name, weight in topics.items()}


def settings_given(settings: Mapping[str, Any], more: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What was asked for, as arguments of an App; the rest is left to the app itself."""
    return {name: value for name, value in settings.items() if value is not None} | dict(more)
