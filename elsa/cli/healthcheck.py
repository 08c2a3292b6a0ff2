"""`elsa healthcheck`: asks the running worker of this machine whether it lives, for containers, cron and people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from elsa import exits
from elsa.cli import output
from elsa.cli.parameters import Seconds, common, examples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.config import Settings
    from elsa.observe.probing import Answer


@click.command(
    "healthcheck",
    short_help="Ask the worker of this machine whether it is well.",
    epilog=examples(
        "elsa healthcheck",
        "elsa healthcheck --ready --verbose",
        "elsa healthcheck --port 9464 --json",
        "elsa healthcheck --url https://worker-3:9464 --startup",
    ),
)
@click.option("--live", is_flag=True, help="Does it have to be restarted? (the default)")
@click.option("--ready", is_flag=True, help="Does it have its partitions, and what it needs?")
@click.option("--startup", is_flag=True, help="Has it loaded the app and made its clients?")
@click.option("--url", metavar="URL", help="Where the worker is, http[s]://host:port.")
@click.option("--port", type=click.IntRange(1, 65535), help="Its port, when metrics_port does not say it.")
@click.option("--cert", metavar="FILE", help="The client certificate to show, with its key (PEM).")
@click.option("--timeout", type=Seconds(), default="5s", show_default=True, help="How long an answer is waited for.")
@click.option("--verbose", is_flag=True, help="Show every check, not only those that fail.")
@common(brokers=False, json=True)
def command(
    *,
    live: bool,
    ready: bool,
    startup: bool,
    url: str | None,
    port: int | None,
    cert: str | None,
    timeout: float,
    verbose: bool,
    app: str | None,
    as_json: bool,
) -> int:
    """Ask the worker on this machine's metrics port; ends with 0 when the answer is yes.

    The port is found as the worker finds it: metrics_port of ELSA_METRICS_PORT or elsa.toml, or else of the app.
    """
    from elsa.observe.probing import ask

    if url is not None and port is not None:
        raise click.UsageError("--url says the port: give --url or --port, not both")
    if timeout <= 0:
        raise click.UsageError("--timeout has to be above 0")
    probe = _probe(live=live, ready=ready, startup=startup)
    settings = _settings(app, is_enough=url is not None or port is not None)
    answer = ask(url or _address(settings, port), probe, settings=settings, cert=cert, timeout=timeout)
    if as_json:
        output.document({"ok": answer.ok, "url": answer.url, **answer.body})
    else:
        _show(answer, probe, is_verbose=verbose)
    return exits.OK if answer.ok else exits.FAILED


def _probe(**asked: bool) -> str:
    names = [name for name, is_asked in asked.items() if is_asked]
    if len(names) > 1:
        raise click.UsageError(f"{' and '.join(f'--{name}' for name in names)} are different questions: ask one")
    return names[0] if names else "live"


def _settings(app: str | None, *, is_enough: bool) -> Settings:
    """Of the environment and files; only where they say no port the app is imported, which may take long."""
    from click.core import ParameterSource

    from elsa.cli.parameters import settings_of

    source = click.get_current_context().get_parameter_source("app")
    settings = settings_of(app if source is ParameterSource.COMMANDLINE else None, None)
    if is_enough or settings.metrics_port is not None or app is None:
        return settings
    return settings_of(app, None)


def _address(settings: Settings, port: int | None) -> str:
    from elsa.errors import ConfigError
    from elsa.observe.probing import address

    found = port or settings.metrics_port
    if not found:
        what = "metrics_port=0 takes any free one" if found == 0 else "no metrics_port is set"
        raise ConfigError(
            f"the worker's port is not known: {what}",
            hint="give --port or --url, set ELSA_METRICS_PORT, or name the app that sets it with -A",
        )
    return address(settings, found)


def _show(answer: Answer, probe: str, *, is_verbose: bool) -> None:
    checks = answer.body.get("checks", ())
    shown = [check for check in checks if is_verbose or not check["ok"]]
    word = {"live": "live", "ready": "ready", "startup": "started"}[probe]
    output.say(word if answer.ok else f"not {word}")
    if shown and is_verbose:
        output.table(
            ("check", "process", "about", "ok", "age", "limit"),
            [[check.get(name) for name in ("name", "process", "about", "ok", "age", "limit")] for check in shown],
            numbers=("process", "age", "limit"),
        )
    for check in shown:
        if not check["ok"]:
            output.fail(f"{_name(check)}: {check.get('hint', '')}")


def _name(check: Mapping[str, Any]) -> str:
    where = [] if check.get("process") is None else [f"of process {check['process']}"]
    return " ".join(filter(None, (check["name"], check.get("about"), *where)))
