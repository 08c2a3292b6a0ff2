"""`elsa dev`: a broker, a worker and a reload in one command, for the time in which an app is written."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elsa.cli.parameters import examples
from elsa.cli.worker_options import app_named, reload_dir_option, settings_given, weights_given, worker_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.broker import EmbeddedKafka
    from elsa.broker.local import LocalKafka
    from elsa.worker.supervisor import Supervisor


@click.command(
    "dev",
    short_help="Write an app with a broker, a worker and a reload in one command.",
    epilog=examples(
        "elsa dev shop:app",
        "elsa dev shop:app --ephemeral             topics are thrown away at the end",
        "elsa dev shop:app --port 0                a broker of its own, at any free port",
        "elsa dev shop -Q orders -l debug --metrics-port 9464",
    ),
)
@worker_options
@reload_dir_option
@click.option("--port", type=click.IntRange(0, 65535), help="Where Kafka is or is started; 0 starts one at any port.")
@click.option("--ephemeral", is_flag=True, help="Throw topics away at the end.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where topics are kept.")
def command(
    *,
    target: str | None,
    app: str | None,
    topics: dict[str, float | None],
    exclude: list[str],
    reload_dirs: tuple[Path, ...],
    port: int | None,
    ephemeral: bool,
    data_dir: Path | None,
    more: tuple[tuple[str, str], ...],
    **settings: Any,
) -> int:
    """Run the handlers of APP on a Kafka of this machine, renewed whenever code changes, until ctrl-C.

    A Kafka that answers at the configured brokers (localhost:9092) is used and left running; else one is started
    there, and stopped after the worker. Needs `pip install 'elsa[broker,reload]'`.
    """
    from elsa.broker.local import find_or_start
    from elsa.cli import output
    from elsa.cli.fetching import fetch_progress
    from elsa.cli.interrupts import interrupted_by_signals
    from elsa.cli.supervising import run
    from elsa.config import load
    from elsa.worker.reload import require_watchfiles
    from elsa.worker.spec import WorkerSpec

    if ephemeral and data_dir is not None:
        raise click.UsageError("--ephemeral keeps nothing: give --data-dir or --ephemeral, not both")
    wanted, options = app_named(target, app), settings_given(settings, more)
    loaded = load(options)
    require_watchfiles()
    # a broker that is not there is no news here
    logging.getLogger("elsa").addHandler(logging.NullHandler())
    with interrupted_by_signals(), contextlib.ExitStack() as stack:
        with fetch_progress(is_quiet=loaded.settings.json_logs) as on_progress:
            kafka = find_or_start(loaded, port=port, ephemeral=ephemeral, data_dir=data_dir, on_progress=on_progress)
        if kafka.broker is not None:
            stack.callback(_stop, kafka.broker)
        # for whatever the handlers start or connect to besides
        os.environ["ELSA_BROKERS"] = options["brokers"] = kafka.bootstrap
        output.say(_announcement(kafka, is_ephemeral=ephemeral))
        spec = WorkerSpec(
            target=wanted, options=options, topics=list(topics), weights=weights_given(topics), exclude=exclude
        )
        return run(spec, reload_dirs=reload_dirs, beside=lambda supervisor: _watching(kafka.broker, supervisor))


@contextlib.contextmanager
def _watching(broker: EmbeddedKafka | None, supervisor: Supervisor) -> Iterator[None]:
    """End the worker when the broker that was started for it ends, and say why."""
    if broker is None:
        yield
        return
    from elsa.broker.local import BrokerWatch

    watch = BrokerWatch(broker, supervisor.stop).start()
    try:
        yield
    finally:
        watch.stop()
    if watch.error is not None:
        raise watch.error


def _stop(broker: EmbeddedKafka) -> None:
    # seconds at most, and another ctrl-C has nothing to hurry
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    broker.stop()


def _announcement(kafka: LocalKafka, *, is_ephemeral: bool) -> str:
    if kafka.broker is None:
        return f"Kafka answers at {kafka.bootstrap} already: it is used, and left running"
    from elsa.broker.jars import KAFKA_VERSION

    kept = "thrown away at the end" if is_ephemeral else f"kept in {kafka.broker.root}"
    return (
        f"Apache Kafka {KAFKA_VERSION} answers at {kafka.bootstrap} (topics are {kept})\n"
        f"\n    export ELSA_BROKERS={kafka.bootstrap}\n"
    )
