"""`elsa config`: the effective settings and where each comes from."""

from __future__ import annotations

import click

from elsa.cli import output
from elsa.cli.parameters import common, examples, loaded_of


@click.command(
    "config",
    short_help="Show the effective settings and where each comes from.",
    epilog=examples(
        "elsa config", "elsa config --changed", "elsa config -A shop:app --json", "ELSA_DRAIN_TIMEOUT=5s elsa config"
    ),
)
@click.option("--changed", is_flag=True, help="Only what is not a default.")
@common(json=True)
def command(*, app: str | None, brokers: str | None, changed: bool, as_json: bool) -> None:
    """Show every effective setting and where it comes from; secrets are hidden.

    Arguments win over ELSA_* variables, those over elsa.toml (or [tool.elsa] of pyproject.toml), looked for from this
    folder upwards. ELSA_X_FILE names a file that holds the value of ELSA_X; the Kafka key sasl.password is
    ELSA_KAFKA__SASL__PASSWORD.
    """
    from elsa.config import describe

    rows = [row for row in describe(loaded_of(app, brokers)) if not changed or row.source != "default"]
    if as_json:
        output.document([row._asdict() for row in rows])
    else:
        output.table(("name", "value", "source"), rows)
