"""`elsa check`: looks at brokers, topics and settings before a deploy does."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from elsa import exits
from elsa.cli import output
from elsa.cli.parameters import common, examples, loaded_of
from elsa.errors import AuthorizationFailed, ConfigError, DeclarationError, KafkaError

#: of elsa.acls, which is imported when it is asked for (a test compares)
ROLES = ("worker", "producer", "monitor", "operator")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.app import App
    from elsa.checks import Finding
    from elsa.config import Settings


@click.command(
    "check",
    short_help="Check brokers, topics and settings before a deploy.",
    epilog=examples(
        "elsa check",
        "elsa check shop:app",
        "elsa check shop:app --strict --json",
        "elsa check shop:app --acl",
        "elsa check --acl --role producer --topic orders",
    ),
)
@click.argument("target", required=False, metavar="[APP]")
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("--acl", is_flag=True, help="Check the rights of this user (the broker's ACLs) instead.")
@click.option("--role", type=click.Choice(ROLES), help="With --acl: what the user is for. [default: worker]")
@click.option(
    "-t",
    "--topic",
    "topics",
    multiple=True,
    help="With --acl: a topic that is sent to, or that delayed messages go to; repeatable.",
)
@common(json=True)
def command(
    *,
    target: str | None,
    strict: bool,
    acl: bool,
    role: str | None,
    topics: tuple[str, ...],
    app: str | None,
    brokers: str | None,
    as_json: bool,
) -> int:
    """Check that the brokers answer, that the topics of APP exist with enough partitions, and the settings.

    Without APP only brokers and settings are looked at. With --acl it is asked instead what the user of these settings
    may do, of all that the role needs, and what grants the rest; nothing is changed. Which topics handlers send to,
    and to which delayed messages go, no declaration says: name them with --topic. Ends with 8 when something is wrong.
    """
    if not acl and (role or topics):
        raise click.UsageError("--role and --topic belong to --acl")
    if acl:
        return _rights(role or "worker", target or app, topics, brokers, strict=strict, as_json=as_json)
    found = []
    for finding in _findings(target or app, brokers):
        found.append(finding)
        if not as_json:
            output.finding(finding.level, finding.what, finding.text, finding.hint)
    bad = {"error", "warning"} if strict else {"error"}
    is_wrong = any(finding.level in bad for finding in found)
    if as_json:
        output.document({"ok": not is_wrong, "findings": [dataclasses.asdict(finding) for finding in found]})
    return exits.CHECK_FAILED if is_wrong else exits.OK


def _rights(
    role: str, target: str | None, topics: tuple[str, ...], brokers: str | None, *, strict: bool, as_json: bool
) -> int:
    from elsa import access, acls
    from elsa.loading import load_app

    app = load_app(target) if target else None
    if app is None and not topics and role in ("worker", "producer"):
        raise click.UsageError(f"what a {role} needs depends on the app: name it, or its topics with --topic")
    settings = loaded_of(app, brokers).settings
    found = list(access.examine(role, settings, app, topics=topics))
    missing = [one for one in found if one.state == "missing"]
    unasked = access.unasked(found) if role == "worker" else []
    is_wrong = any(one.is_needed or strict for one in missing)
    if as_json:
        rows = [
            {"state": one.state, "needed": one.is_needed, "command": one.command, **dataclasses.asdict(one.right)}
            for one in found
        ]
        output.document({"ok": not is_wrong, "role": role, "rights": rows, "unasked": unasked})
        return exits.CHECK_FAILED if is_wrong else exits.OK
    output.table(
        ("state", "right", "for", "when"),
        [
            (one.state, one.right.describe(), one.right.purpose, acls.FEATURES.get(one.right.feature, "always"))
            for one in found
        ],
    )
    if any(one.state == "unknown" for one in found):
        output.note("unknown: the topic does not exist yet, and what is not there cannot be asked about")
    if role == "worker" and app is not None:
        places = ", ".join([*map(repr, unasked), "topics that are not listed"])
        output.note(f"not asked: Write on {places}; where handlers send, or delayed messages go, ask with --topic")
    for one in missing:
        output.say(one.command)
    return exits.CHECK_FAILED if is_wrong else exits.OK


def _findings(target: str | None, brokers: str | None) -> Iterator[Finding]:
    from elsa import checks
    from elsa.loading import load_app

    try:
        app = load_app(target) if target else None
        settings = loaded_of(app, brokers).settings
    except (ConfigError, DeclarationError) as error:
        notes = getattr(error, "__notes__", ())
        yield checks.Finding(
            "error",
            "declarations" if isinstance(error, DeclarationError) else "settings",
            "\n".join([str(error), *notes]),
        )
        return
    yield from checks.of_settings(settings)
    yield from _of_cluster(settings, app)


def _of_cluster(settings: Settings, app: App | None) -> Iterator[Finding]:
    from elsa import checks
    from elsa.kafka.cluster import broker_config
    from elsa.topics import Topics

    try:
        partitions = Topics(settings).list(internal=True)
        yield checks.Finding("ok", "brokers", f"{settings.brokers} answers and has {len(partitions)} topics")
        try:
            yield from checks.of_broker(settings, broker_config(settings))
        except AuthorizationFailed as error:
            yield checks.Finding("warning", "group protocol", f"the broker's settings may not be read: {error}")
    except (ConfigError, KafkaError) as error:
        yield checks.Finding("error", "brokers", str(error))
        return
    if app is not None:
        yield from checks.of_app(app, partitions)
